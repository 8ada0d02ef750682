// SPDX-License-Identifier: Apache-2.0
// The body of a SIMT kernel as text, by a dialect's tables. Constants stand where they are used, and so does an integer expression that
// one operation of the same block uses: what is left as statements are loads, stores, floats and what is used again.
#include "codegen/simt/emit.h"

#include <ctype.h>
#include <string.h>

enum { MOST_INLINED = 6 };               // operations in one expression

typedef struct Print {
    const KirFn *fn;
    const SimtDialect *dialect;
    HdBuf *out;
    uint32_t *table;                     // per value: 1 + the table that this pointer points into; 0: memory
    uint32_t *uses;
    KirBlock const **user;               // per value: the block of its last user
    uint8_t *weight;                     // per value: operations in its expression where it is written in place, else 0
    uint32_t depth;
    HdStatus *status;                    // the first thing that could not be printed
} Print;

static KirType type_of(const Print *p, KirRef ref) { return kir_value(p->fn, ref)->type; }
static const SimtType *words_of(const Print *p, KirRef ref) { return &p->dialect->types[type_of(p, ref).scalar]; }
static void print_type(const Print *p, KirRef ref) {
    if (type_of(p, ref).lanes == 1) hd_buf_str(p->out, words_of(p, ref)->name);
    else kir_type_text(type_of(p, ref), p->out);
}
static void indent(const Print *p) { hd_buf_printf(p->out, "%*s", (int)(4 * p->depth), ""); }

static void refuse(Print *p, const KirOp *op, const char *why) {
    if (!p->status) p->status = hd_error(HD_UNSUPPORTED, "kernel %s: %s: %s (%s)", p->fn->name, kir_op_name(op->kind), why, p->dialect->name);
}

// ---- names -----------------------------------------------------------------------------------------------------

static void print_param_name(const KirOp *op, HdBuf *out) {
    for (const char *c = op->text; *c; c++) {
        char letter = isalnum((unsigned char)*c) ? *c : '_';
        hd_buf_bytes(out, &letter, 1);
    }
    hd_buf_printf(out, "_%lld", (long long)op->number);
}

void simt_print_name(const KirFn *fn, KirRef ref, HdBuf *out_text) {
    static const char letters[KIR_SCALAR_COUNT] = {
        [KIR_I1] = 'b', [KIR_I8] = 'c', [KIR_I16] = 'h', [KIR_I32] = 'w', [KIR_I64] = 'i', [KIR_F32] = 'f', [KIR_PTR] = 'p'};
    const KirValue *value = kir_value(fn, ref);
    if (value->op && value->op->kind == KIR_OP_param) print_param_name(value->op, out_text);
    else hd_buf_printf(out_text, value->type.lanes ? "%c%u" : "s%c%u", letters[value->type.scalar], ref);
}

static void print_use(Print *p, KirRef ref, bool enclosed);   // enclosed: parentheses stand around it already

// In C++ "(a(b(c))) * d" may declare a function: a cast's type stands in parentheses.
static void print_cast(Print *p, const char *type) { hd_buf_printf(p->out, p->dialect->c_casts ? "(%s)" : "%s", type); }

static void print_pattern(Print *p, const KirOp *op, const char *pattern) {
    for (const char *start = pattern; *pattern; pattern++) {
        if (*pattern != '$') {
            hd_buf_bytes(p->out, pattern, 1);
            continue;
        }
        char what = *++pattern;
        if (what == 'T') print_cast(p, words_of(p, op->result)->name);
        else if (what == 'U') print_cast(p, words_of(p, op->result)->unsigned_name);
        else if (what == 'V') print_cast(p, words_of(p, op->operands[0])->unsigned_name);
        else if (what == 'F') kir_type_text(type_of(p, op->result), p->out);
        else if (what == 'N') hd_buf_printf(p->out, "%lld", (long long)op->number);
        else print_use(p, op->operands[what - '0'], pattern - start >= 2 && pattern[-2] == '(' && pattern[1] == ')');
    }
}

// ---- expressions -------------------------------------------------------------------------------------------------

// A fragment is only ever made of zeros.
static bool print_zeros(Print *p, const KirOp *op) {
    union { float f; uint32_t u; } bits = {op->real};
    if (type_of(p, op->result).lanes == 1) return false;
    if (op->number || bits.u || !p->dialect->fragments) refuse(p, op, "only single numbers, and fragments of 0");
    print_type(p, op->result);
    hd_buf_str(p->out, "()");
    return true;
}

static void print_int(Print *p, const KirOp *op) {
    if (print_zeros(p, op)) return;
    KirScalar scalar = (KirScalar)type_of(p, op->result).scalar;
    const char *type = p->dialect->types[scalar].name;
    bool plain = op->number > INT32_MIN && op->number <= INT32_MAX;
    if (scalar == KIR_I1) hd_buf_str(p->out, op->number ? "true" : "false");
    else if (scalar == KIR_I32 && plain) hd_buf_printf(p->out, "%lld", (long long)op->number);
    else if (plain) hd_buf_printf(p->out, "%s(%lld)", type, (long long)op->number);
    else if (scalar == KIR_I64) hd_buf_printf(p->out, "%s(0x%llxul)", type, (unsigned long long)op->number);
    else hd_buf_printf(p->out, "%s(0x%xu)", type, (unsigned)op->number);
}

static void print_real(Print *p, const KirOp *op) {
    union { float f; uint32_t u; } bits = {op->real};
    if (print_zeros(p, op)) return;
    if (op->real == (float)(int)op->real && op->real > -1e6f && op->real < 1e6f && (op->real != 0 || !bits.u))
        hd_buf_printf(p->out, "%d.0f", (int)op->real);
    else hd_buf_printf(p->out, p->dialect->float_bits, bits.u);
}

// An element of a table whose words lie in an array.
static void print_table_load(Print *p, const KirOp *op) {
    static const char *const forms[KIR_SCALAR_COUNT] = {
        [KIR_I8] = "int8_t(t%u[uint($0) >> 2] >> (8 * (uint($0) & 3)))",
        [KIR_I16] = "int16_t(t%u[uint($0) >> 2] >> (8 * (uint($0) & 2)))",
        [KIR_I32] = "int(t%u[uint($0) >> 2])",
        [KIR_F32] = "uintBitsToFloat(t%u[uint($0) >> 2])"};
    const char *form = forms[type_of(p, op->result).scalar];
    HdBuf pattern = {0};
    if (!form) return refuse(p, op, "a table holds numbers of at most 32 bits");
    hd_buf_printf(&pattern, form, p->table[op->operands[0]] - 1);
    print_pattern(p, op, pattern.data);
    hd_buf_free(&pattern);
}

static void print_load(Print *p, const KirOp *op) {
    const char *pattern = words_of(p, op->result)->load;
    if (type_of(p, op->result).lanes != 1 || !pattern) refuse(p, op, "only single numbers are loaded");
    else if (p->table[op->operands[0]] && !p->dialect->tables_are_memory) print_table_load(p, op);
    else print_pattern(p, op, pattern);
}

static void print_store(Print *p, const KirOp *op) {
    const char *pattern = words_of(p, op->operands[1])->store;
    if (type_of(p, op->operands[1]).lanes != 1 || !pattern || p->table[op->operands[0]]) refuse(p, op, "only single numbers are stored");
    else print_pattern(p, op, pattern);
}

static void print_bits(Print *p, const KirOp *op) {
    static const char *const signs[2][3] = {{"$0 & $1", "$0 | $1", "$0 ^ $1"}, {"$0 && $1", "$0 || $1", "$0 != $1"}};
    bool truth = type_of(p, op->result).scalar == KIR_I1;
    print_pattern(p, op, signs[truth][op->kind == KIR_OP_and ? 0 : op->kind == KIR_OP_or ? 1 : 2]);
}

static void print_extend(Print *p, const KirOp *op) {
    bool is_signed = op->kind == KIR_OP_sext, truth = type_of(p, op->operands[0]).scalar == KIR_I1;
    if (truth) print_pattern(p, op, is_signed ? "$T($0 ? -1 : 0)" : "$T($0 ? 1 : 0)");
    else print_pattern(p, op, is_signed ? "$T($0)" : "$T($V($0))");
}

static void print_cmp(Print *p, const KirOp *op) {
    static const char *const patterns[] = {
        [KIR_EQ] = "$0 == $1", [KIR_NE] = "$0 != $1", [KIR_LT] = "$0 < $1", [KIR_LE] = "$0 <= $1", [KIR_GT] = "$0 > $1", [KIR_GE] = "$0 >= $1"};
    print_pattern(p, op, patterns[op->pred]);
}

static void print_bitcast(Print *p, const KirOp *op) {
    KirScalar from = (KirScalar)type_of(p, op->operands[0]).scalar, to = (KirScalar)type_of(p, op->result).scalar;
    const SimtWords *words = &p->dialect->words[KIR_OP_bitcast];
    if (from == KIR_F32 && to == KIR_I32) print_pattern(p, op, words->floats);
    else if (from == KIR_I32 && to == KIR_F32) print_pattern(p, op, words->ints);
    else refuse(p, op, "only between i32 and f32");
}

static void print_param(Print *p, const KirOp *op) {
    hd_buf_printf(p->out, "%s(", words_of(p, op->result)->name);
    hd_buf_printf(p->out, p->dialect->argument, (unsigned)op->number);
    hd_buf_str(p->out, ")");
}

static void print_table(Print *p, const KirOp *op) {
    if (p->dialect->tables_are_memory) hd_buf_printf(p->out, "%s(t%lld)", p->dialect->types[KIR_PTR].name, (long long)op->number);
    else hd_buf_printf(p->out, "%s(0)", p->dialect->types[KIR_PTR].name);
}

static void print_scratch(Print *p, const KirOp *op) { (void)op, hd_buf_printf(p->out, p->dialect->scratch, p->fn->scratch_param); }
static void print_select(Print *p, const KirOp *op) { print_pattern(p, op, "$0 ? $1 : $2"); }
static void print_extract(Print *p, const KirOp *op) { print_pattern(p, op, type_of(p, op->operands[0]).lanes == 1 ? "$0" : "$0.x[$N]"); }

typedef void PrintOp(Print *p, const KirOp *op);
static PrintOp *const special[KIR_OP_COUNT] = {
    [KIR_OP_const_int] = print_int, [KIR_OP_const_float] = print_real, [KIR_OP_table] = print_table, [KIR_OP_param] = print_param,
    [KIR_OP_scratch] = print_scratch, [KIR_OP_and] = print_bits, [KIR_OP_or] = print_bits, [KIR_OP_xor] = print_bits,
    [KIR_OP_cmp] = print_cmp, [KIR_OP_select] = print_select, [KIR_OP_sext] = print_extend, [KIR_OP_zext] = print_extend,
    [KIR_OP_bitcast] = print_bitcast, [KIR_OP_extract] = print_extract, [KIR_OP_load] = print_load, [KIR_OP_store] = print_store,
};

static const char *pattern_of(const Print *p, const KirOp *op) {
    bool real = op->operand_count && type_of(p, op->operands[0]).scalar == KIR_F32;
    return real ? p->dialect->words[op->kind].floats : p->dialect->words[op->kind].ints;
}

static void print_expression(Print *p, const KirOp *op) {
    const char *pattern = pattern_of(p, op);
    bool wide = op->result_count && type_of(p, op->result).lanes > 1 && !kir_is_of_warp(op->kind);
    if (special[op->kind]) special[op->kind](p, op);
    else if (pattern && !wide) print_pattern(p, op, pattern);
    else refuse(p, op, "has no words");
}

static bool is_constant(const KirOp *op) { return op && (op->kind == KIR_OP_const_int || op->kind == KIR_OP_const_float); }

static void print_use(Print *p, KirRef ref, bool enclosed) {
    const KirOp *op = kir_value(p->fn, ref)->op;
    if (is_constant(op) || (p->weight[ref] && enclosed)) {
        print_expression(p, op);
    } else if (p->weight[ref]) {
        hd_buf_str(p->out, "(");
        print_expression(p, op);
        hd_buf_str(p->out, ")");
    } else {
        simt_print_name(p->fn, ref, p->out);
    }
}

// ---- what is written in place --------------------------------------------------------------------------------------

static void count_use(Print *p, KirRef ref, const KirBlock *block) { p->uses[ref]++, p->user[ref] = block; }

static void count_block(Print *p, const KirBlock *block) {
    for (const KirOp *op = block->first; op; op = op->next) {
        for (uint32_t i = 0; i < op->operand_count; i++) count_use(p, op->operands[i], op->kind == KIR_OP_for && i ? NULL : block);
        for (int i = 0; i < 2; i++)
            if (op->body[i]) count_block(p, op->body[i]);
    }
    for (uint32_t i = 0; i < block->yield_count; i++) count_use(p, block->yields[i], block);
}

// A pure operation on integers, used once and where it stands. min, max and select name an operand twice; a warp meets where it is said to.
static bool goes_in_place(const Print *p, const KirOp *op) {
    if (op->result_count != 1 || p->uses[op->result] != 1 || p->user[op->result] != op->block || !op->operand_count) return false;
    KirScalar scalar = (KirScalar)type_of(p, op->result).scalar;
    for (uint32_t i = 0; i < op->operand_count; i++)
        if (type_of(p, op->operands[i]).scalar == KIR_F32) return false;
    bool pure = op->kind != KIR_OP_load && op->kind != KIR_OP_shared_load && op->kind != KIR_OP_for && op->kind != KIR_OP_if &&
                !kir_is_of_warp(op->kind);
    return pure && scalar != KIR_F32 && op->kind != KIR_OP_min && op->kind != KIR_OP_max;
}

static void weigh(Print *p, const KirOp *op) {
    uint32_t weight = 1;
    if (!goes_in_place(p, op)) return;
    for (uint32_t i = 0; i < op->operand_count; i++) weight += p->weight[op->operands[i]];
    p->weight[op->result] = weight <= MOST_INLINED ? (uint8_t)weight : 0;
}

static void follow_table(Print *p, const KirOp *op) {
    if (op->kind == KIR_OP_table) p->table[op->result] = 1 + (uint32_t)op->number;
    if (op->kind == KIR_OP_offset) p->table[op->result] = p->table[op->operands[0]];
}

// ---- statements ------------------------------------------------------------------------------------------------

static void print_block(Print *p, const KirBlock *block);

static void declare(Print *p, KirRef ref) {
    indent(p);
    if (type_of(p, ref).scalar == KIR_F32) hd_buf_str(p->out, p->dialect->declare_float);
    print_type(p, ref);
    hd_buf_str(p->out, " ");
    simt_print_name(p->fn, ref, p->out);
}

static void assign(Print *p, KirRef from) {
    hd_buf_str(p->out, " = ");
    print_use(p, from, true);
    hd_buf_str(p->out, ";\n");
}

// All next values are known before the first is assigned: they may be each other's.
static void assign_yields(Print *p, const KirBlock *body, KirRef first) {
    bool several = body->yield_count > 1;
    for (uint32_t i = 0; several && i < body->yield_count; i++) {
        indent(p);
        print_type(p, body->yields[i]);
        hd_buf_printf(p->out, " next%u", i);
        assign(p, body->yields[i]);
    }
    for (uint32_t i = 0; i < body->yield_count; i++) {
        indent(p);
        simt_print_name(p->fn, first + i, p->out);
        if (several) hd_buf_printf(p->out, " = next%u;\n", i);
        else assign(p, body->yields[i]);
    }
}

static void print_body(Print *p, const KirBlock *body, KirRef first) {
    p->depth++;
    print_block(p, body);
    if (body->yield_count) assign_yields(p, body, first);
    p->depth--;
    indent(p);
    hd_buf_str(p->out, "}");
}

static void print_for(Print *p, const KirOp *op) {
    const KirBlock *body = op->body[0];
    const char *type = p->dialect->types[KIR_I64].name;
    HdBuf iv = {0};
    simt_print_name(p->fn, body->first_arg, &iv);
    for (uint32_t i = 0; i < op->result_count; i++) {
        declare(p, body->first_arg + 1 + i);
        assign(p, op->operands[3 + i]);
    }
    indent(p);
    hd_buf_printf(p->out, "for (%s %s = ", type, iv.data);
    print_use(p, op->operands[0], true);
    hd_buf_printf(p->out, "; %s < ", iv.data);
    print_use(p, op->operands[1], true);
    hd_buf_printf(p->out, "; %s += ", iv.data);
    print_use(p, op->operands[2], true);
    hd_buf_str(p->out, ") {\n");
    print_body(p, body, body->first_arg + 1);
    hd_buf_str(p->out, "\n");
    for (uint32_t i = 0; i < op->result_count; i++) {   // the results are what the carried variables are then
        declare(p, op->result + i);
        hd_buf_str(p->out, " = ");
        simt_print_name(p->fn, body->first_arg + 1 + i, p->out);
        hd_buf_str(p->out, ";\n");
    }
    hd_buf_free(&iv);
}

static void print_if(Print *p, const KirOp *op) {
    for (uint32_t i = 0; i < op->result_count; i++) {
        declare(p, op->result + i);
        hd_buf_str(p->out, ";\n");
    }
    indent(p);
    hd_buf_str(p->out, "if (");
    print_use(p, op->operands[0], true);
    hd_buf_str(p->out, ") {\n");
    print_body(p, op->body[0], op->result);
    if (op->body[1] && (op->body[1]->first || op->result_count)) {
        hd_buf_str(p->out, " else {\n");
        print_body(p, op->body[1], op->result);
    }
    hd_buf_str(p->out, "\n");
}

static bool says_nothing(const Print *p, const KirOp *op) {
    const char *pattern = pattern_of(p, op);
    return pattern && !*pattern;
}

static void print_op(Print *p, const KirOp *op) {
    follow_table(p, op);
    weigh(p, op);
    if (op->kind == KIR_OP_for) return print_for(p, op);
    if (op->kind == KIR_OP_if) return print_if(p, op);
    if (op->kind == KIR_OP_shared || op->kind == KIR_OP_prefetch || is_constant(op)) return;
    if (op->result_count && (p->weight[op->result] || !p->uses[op->result])) return;
    if (!op->result_count && says_nothing(p, op)) return;
    if (op->result_count) declare(p, op->result), hd_buf_str(p->out, " = ");
    else indent(p);
    print_expression(p, op);
    hd_buf_str(p->out, ";\n");
}

static void print_block(Print *p, const KirBlock *block) {
    for (const KirOp *op = block->first; op && !p->status; op = op->next) print_op(p, op);
}

HdStatus *simt_print_body(const KirFn *fn, const SimtDialect *dialect, HdBuf *out_text) {
    HdArena arena = {0};
    size_t values = fn->values.len;
    Print p = {.fn = fn,
               .dialect = dialect,
               .out = out_text,
               .depth = 1,
               .table = HD_NEW_ARRAY(&arena, uint32_t, values),
               .uses = HD_NEW_ARRAY(&arena, uint32_t, values),
               .user = (KirBlock const **)HD_NEW_ARRAY(&arena, KirBlock *, values),
               .weight = HD_NEW_ARRAY(&arena, uint8_t, values)};
    count_block(&p, fn->prelude);
    count_block(&p, fn->entry);
    print_block(&p, fn->prelude);
    print_block(&p, fn->entry);
    hd_arena_free(&arena);
    return p.status;
}

void simt_print_words(const KirTable *table, HdBuf *out_text) {
    size_t count = (table->len + 3) / 4;
    hd_buf_str(out_text, "{");
    for (size_t w = 0; w < count; w++) {
        uint32_t word = 0;
        memcpy(&word, table->bytes + 4 * w, HD_MIN(table->len - 4 * w, 4));
        hd_buf_printf(out_text, "%s0x%xu", !w ? "" : w % 12 ? ", " : ",\n    ", word);
    }
    hd_buf_str(out_text, "}");
}
