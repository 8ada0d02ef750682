// SPDX-License-Identifier: Apache-2.0
// Kernels as text (.hkr). Values are numbered in the order of the text, so equal kernels print equally however they were built;
// the text holds everything that decides the machine code, table bytes included, so its digest identifies a kernel for one
// target.
#include "codegen/kir_internal.h"

typedef struct Printer { const KirFn *fn; HdBuf *out; uint32_t *numbers, next; } Printer;

static void print_def(Printer *p, KirRef ref) {
    p->numbers[ref] = p->next++;
    hd_buf_printf(p->out, "%%%u", p->numbers[ref]);
}

static void print_typed_def(Printer *p, KirRef ref) {
    print_def(p, ref);
    hd_buf_str(p->out, ": ");
    kir_type_text(kir_value(p->fn, ref)->type, p->out);
}

static void print_uses(Printer *p, uint32_t count, const KirRef *refs) {
    for (uint32_t i = 0; i < count; i++) hd_buf_printf(p->out, "%s%%%u", i ? ", " : " ", p->numbers[refs[i]]);
}

static void print_indent(Printer *p, uint32_t depth) { hd_buf_printf(p->out, "%*s", (int)(2 * depth), ""); }

static void print_text(Printer *p, const char *text) {
    hd_buf_str(p->out, " \"");
    for (; *text; text++)
        hd_buf_printf(p->out, *text == '"' || *text == '\\' || (unsigned char)*text < 32 ? "\\%02x" : "%c", *text);
    hd_buf_str(p->out, "\"");
}

static void print_table(Printer *p, const KirTable *table) {
    print_text(p, table->text);
    hd_buf_str(p->out, " ");
    for (size_t i = 0; i < table->len; i++) hd_buf_printf(p->out, "%02x", table->bytes[i]);
}

static void print_lanes(Printer *p, const KirOp *op) {
    hd_buf_str(p->out, " [");
    for (uint32_t i = 0; i < kir_value(p->fn, op->result)->type.lanes; i++) hd_buf_printf(p->out, i ? " %u" : "%u", op->lanes[i]);
    hd_buf_str(p->out, "]");
}

static void print_real(Printer *p, float value) {
    union { float f; uint32_t u; } bits = {value};
    hd_buf_str(p->out, " ");
    if (value == value) hd_buf_f32(p->out, value);
    else hd_buf_printf(p->out, "nan:%08x", bits.u);
}

static void print_attributes(Printer *p, const KirOp *op) {
    switch (op->kind) {
    case KIR_OP_const_int:
    case KIR_OP_shared:
    case KIR_OP_copy_wait:
    case KIR_OP_shuffle_xor:
    case KIR_OP_fragment_a:
    case KIR_OP_fragment_b:
    case KIR_OP_extract: hd_buf_printf(p->out, " %lld", (long long)op->number); break;
    case KIR_OP_const_float: print_real(p, op->real); break;
    case KIR_OP_table: print_table(p, &p->fn->tables.data[op->number]); break;
    case KIR_OP_param: hd_buf_printf(p->out, " %lld", (long long)op->number); print_text(p, op->text); break;
    case KIR_OP_cmp: hd_buf_printf(p->out, " %s", kir_pred_name(op->pred)); break;
    case KIR_OP_shuffle: print_lanes(p, op); break;
    default: break;
    }
}

static void print_block(Printer *p, const KirBlock *block, uint32_t depth);

static void print_body(Printer *p, const KirOp *op, int which, uint32_t depth) {
    const KirBlock *body = op->body[which];
    hd_buf_str(p->out, which ? " else {" : " {");
    for (uint32_t i = 0; i < body->arg_count; i++) {
        hd_buf_str(p->out, i ? ", " : " ");
        print_typed_def(p, body->first_arg + i);
    }
    hd_buf_str(p->out, "\n");
    print_block(p, body, depth + 1);
    if (body->yield_count) {
        print_indent(p, depth + 1);
        hd_buf_str(p->out, "yield");
        print_uses(p, body->yield_count, body->yields);
        hd_buf_str(p->out, "\n");
    }
    print_indent(p, depth);
    hd_buf_str(p->out, "}");
}

// Results are named after the bodies, where they come to life: the text shows them last.
static void print_control(Printer *p, const KirOp *op, uint32_t depth) {
    for (int i = 0; i < 2; i++)
        if (op->body[i]) print_body(p, op, i, depth);
    for (uint32_t i = 0; i < op->result_count; i++) {
        hd_buf_str(p->out, i ? ", " : " -> ");
        print_typed_def(p, op->result + i);
    }
}

static void print_op(Printer *p, const KirOp *op, uint32_t depth) {
    print_indent(p, depth);
    bool control = op->body[0] != NULL;
    if (op->result_count && !control) {
        print_typed_def(p, op->result);
        hd_buf_str(p->out, " = ");
    }
    hd_buf_str(p->out, kir_op_name(op->kind));
    print_attributes(p, op);
    print_uses(p, op->operand_count, op->operands);
    if (control) print_control(p, op, depth);
    hd_buf_str(p->out, "\n");
}

static void print_block(Printer *p, const KirBlock *block, uint32_t depth) {
    for (const KirOp *op = block->first; op; op = op->next) print_op(p, op, depth);
}

void kir_print(const KirFn *fn, HdBuf *out_text) {
    HdArena arena = {0};
    Printer p = {fn, out_text, HD_NEW_ARRAY(&arena, uint32_t, fn->values.len), 0};
    hd_buf_printf(out_text, "kernel @%s(", fn->name);
    print_typed_def(&p, fn->entry->first_arg);
    hd_buf_str(out_text, " begin, ");
    print_typed_def(&p, fn->entry->first_arg + 1);
    hd_buf_str(out_text, " end)");
    if (fn->lanes) hd_buf_printf(out_text, " lanes %u", fn->lanes);
    if (fn->resident) hd_buf_printf(out_text, " resident %u", fn->resident);
    hd_buf_str(out_text, " {\n");
    print_block(&p, fn->prelude, 1);
    print_block(&p, fn->entry, 1);
    hd_buf_str(out_text, "}\n");
    hd_arena_free(&arena);
}
