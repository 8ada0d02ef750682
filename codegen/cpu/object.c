// SPDX-License-Identifier: Apache-2.0
// From an MLIR module to machine code, and from objects to one shared object. Nothing here depends on folder, time or
// environment, so equal kernels give equal bytes.
#include "codegen/codegen.h"
#include "codegen/cpu/emit_internal.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <mlir-c/Diagnostics.h>
#include <mlir-c/Pass.h>
#include <mlir-c/RegisterEverything.h>
#include <mlir-c/Target/LLVMIR.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// Raised whenever schedules or the emitter make other code from the same graph: part of cache keys and modules.
#define CG_SCHEDULE_VERSION 4

static const char lowering[] =
    "builtin.module(convert-scf-to-cf,convert-vector-to-llvm,convert-math-to-llvm,convert-arith-to-llvm,convert-func-to-llvm,"
    "convert-cf-to-llvm,reconcile-unrealized-casts)";
// Not default<O2>: schedules have vectorised, unrolled and inlined already, and its loop vectoriser, unswitching and jump
// threading multiply code (and time: this is a quarter of its). Named in a pipeline, instcombine aborts the process where one round
// leaves it something to do; that is a check for LLVM's own tests.
#define INSTCOMBINE "instcombine<no-verify-fixpoint>"
static const char optimisation[] =
    "function(sroa,early-cse<memssa>,simplifycfg," INSTCOMBINE ",loop-mssa(loop-rotate,licm),simplifycfg," INSTCOMBINE ","
    "loop(indvars),gvn," INSTCOMBINE ",simplifycfg)";

struct CgEmitter {
    IrTarget target;
    MlirContext context;
    MlirPassManager lower;
    LLVMTargetMachineRef machine;
    LLVMPassBuilderOptionsRef options;
    HdBuf features, diagnostics;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void initialise(void) {
    mlirRegisterAllPasses();
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
}

// ---- an emitter ----------------------------------------------------------------------------------------------------

static void append_text(MlirStringRef text, void *buf) { hd_buf_bytes(buf, text.data, text.length); }

static MlirLogicalResult keep_diagnostic(MlirDiagnostic diagnostic, void *emitter) {
    HdBuf *text = &((CgEmitter *)emitter)->diagnostics;
    if (text->len) hd_buf_str(text, "; ");
    mlirDiagnosticPrint(diagnostic, append_text, text);
    return mlirLogicalResultSuccess();
}

static HdStatus *mlir_failed(CgEmitter *emitter, const KirFn *fn, const char *step) {
    HdStatus *status = hd_error(HD_INTERNAL, "kernel %s: %s failed: %s", fn ? kir_name(fn) : "-", step,
                                emitter->diagnostics.len ? emitter->diagnostics.data : "no reason given");
    emitter->diagnostics.len = 0;
    return status;
}

static HdStatus *make_context(CgEmitter *emitter) {
    MlirDialectRegistry registry = mlirDialectRegistryCreate();
    mlirRegisterAllDialects(registry);
    emitter->context = mlirContextCreateWithRegistry(registry, false);
    mlirDialectRegistryDestroy(registry);
    mlirRegisterAllLLVMTranslations(emitter->context);
    mlirContextAttachDiagnosticHandler(emitter->context, keep_diagnostic, emitter, NULL);
    static const char *const dialects[] = {"func", "arith", "math", "scf", "cf", "vector", "llvm"};
    for (size_t i = 0; i < HD_COUNT(dialects); i++)
        mlirContextGetOrLoadDialect(emitter->context, mlirStringRefCreateFromCString(dialects[i]));
    emitter->lower = mlirPassManagerCreate(emitter->context);
    MlirOpPassManager passes = mlirPassManagerGetAsOpPassManager(emitter->lower);
    if (mlirLogicalResultIsFailure(
            mlirParsePassPipeline(passes, mlirStringRefCreateFromCString(lowering), append_text, &emitter->diagnostics)))
        return mlir_failed(emitter, NULL, "the lowering pipeline");
    mlirPassManagerEnableVerifier(emitter->lower, false);   // each module is verified once, before it is lowered
    return NULL;
}

static HdStatus *make_machine(CgEmitter *emitter) {
    char *error = NULL;
    LLVMTargetRef target;
    const char *triple = ir_isa_triple(emitter->target.isa);
    if (LLVMGetTargetFromTriple(triple, &target, &error)) {
        HdStatus *status = hd_error(HD_UNSUPPORTED, "LLVM cannot compile for %s: %s", triple, error);
        LLVMDisposeMessage(error);
        return status;
    }
    ir_target_llvm_features(&emitter->target, &emitter->features);
    emitter->machine = LLVMCreateTargetMachine(target, triple, emitter->target.llvm_cpu, emitter->features.data,
                                               LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelDefault);
    emitter->options = LLVMCreatePassBuilderOptions();
    return NULL;
}

HdStatus *cg_emitter_new(const IrTarget *target, CgEmitter **out_emitter) {
    pthread_once(&once, initialise);
    CgEmitter *emitter = hd_xcalloc(1, sizeof *emitter);
    emitter->target = *target;
    HdStatus *status = make_context(emitter);
    if (!status) status = make_machine(emitter);
    if (status) cg_emitter_free(emitter);
    else *out_emitter = emitter;
    return status;
}

void cg_emitter_free(CgEmitter *emitter) {
    if (!emitter) return;
    if (emitter->lower.ptr) mlirPassManagerDestroy(emitter->lower);
    if (emitter->context.ptr) mlirContextDestroy(emitter->context);
    if (emitter->machine) LLVMDisposeTargetMachine(emitter->machine);
    if (emitter->options) LLVMDisposePassBuilderOptions(emitter->options);
    hd_buf_free(&emitter->features);
    hd_buf_free(&emitter->diagnostics);
    free(emitter);
}

static char version_text[96];
static pthread_once_t version_once = PTHREAD_ONCE_INIT;

static void make_version(void) {
    unsigned major, minor, patch;
    LLVMGetVersion(&major, &minor, &patch);               // of the library that runs, not of the headers
    snprintf(version_text, sizeof version_text, "llvm %u.%u.%u abi %d schedules %d", major, minor, patch, HEDDLE_ABI_VERSION,
             CG_SCHEDULE_VERSION);
}

const char *cg_compiler_version(void) {
    pthread_once(&version_once, make_version);
    return version_text;
}

// ---- MLIR to object ------------------------------------------------------------------------------------------------

static HdStatus *dump(const char *prefix, const char *suffix, const char *data, size_t len) {
    if (!prefix) return NULL;
    HdBuf path = {0};
    hd_buf_printf(&path, "%s%s", prefix, suffix);
    HdStatus *status = hd_write_file(path.data, data, len);
    hd_buf_free(&path);
    return status;
}

static HdStatus *dump_kernel(const char *prefix, const KirFn *fn) {
    if (!prefix) return NULL;
    HdBuf text = {0};
    kir_print(fn, &text);
    HdStatus *status = dump(prefix, ".hkr", text.data, text.len);
    hd_buf_free(&text);
    return status;
}

static HdStatus *dump_mlir(const char *prefix, MlirModule module) {
    if (!prefix) return NULL;
    HdBuf text = {0};
    mlirOperationPrint(mlirModuleGetOperation(module), append_text, &text);
    HdStatus *status = dump(prefix, ".mlir", text.data, text.len);
    hd_buf_free(&text);
    return status;
}

static HdStatus *lower_module(CgEmitter *emitter, const KirFn *fn, const char *dump_prefix, MlirModule module) {
    MlirOperation op = mlirModuleGetOperation(module);
    HdStatus *status = dump_mlir(dump_prefix, module);
    if (!status && !mlirOperationVerify(op)) status = mlir_failed(emitter, fn, "MLIR's verifier");
    if (!status && mlirLogicalResultIsFailure(mlirPassManagerRunOnOp(emitter->lower, op)))
        status = mlir_failed(emitter, fn, "lowering");
    return status;
}

static void set_attribute(LLVMValueRef function, const char *name, const char *value) {
    LLVMAddTargetDependentFunctionAttr(function, name, value);
}

static void set_enum_attribute(LLVMContextRef context, LLVMValueRef function, const char *name) {
    LLVMAttributeRef attribute = LLVMCreateEnumAttribute(context, LLVMGetEnumAttributeKindForName(name, strlen(name)), 0);
    LLVMAddAttributeAtIndex(function, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, attribute);
}

// "no-builtins": no loop becomes a call of memcpy or memset; a kernel links against nothing.
static void set_function(const CgEmitter *emitter, LLVMContextRef context, LLVMValueRef function) {
    set_attribute(function, "target-cpu", emitter->target.llvm_cpu);
    set_attribute(function, "tune-cpu", emitter->target.tune_cpu);
    set_attribute(function, "target-features", emitter->features.data);
    set_attribute(function, "prefer-vector-width", ir_target_has(&emitter->target, IR_FEATURE_AVX512F) ? "512" : "256");
    set_attribute(function, "frame-pointer", "none");
    set_attribute(function, "no-builtins", "");
    set_enum_attribute(context, function, "nounwind");
}

static void set_module(const CgEmitter *emitter, LLVMContextRef context, LLVMModuleRef module) {
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(emitter->machine);
    LLVMSetTarget(module, ir_isa_triple(emitter->target.isa));
    LLVMSetModuleDataLayout(module, layout);
    LLVMDisposeTargetData(layout);
    for (LLVMValueRef f = LLVMGetFirstFunction(module); f; f = LLVMGetNextFunction(f))
        if (!LLVMIsDeclaration(f)) set_function(emitter, context, f);
}

static HdStatus *emit_file(const CgEmitter *emitter, const KirFn *fn, LLVMModuleRef module, LLVMCodeGenFileType type,
                           HdBuf *out_bytes) {
    char *error = NULL;
    LLVMMemoryBufferRef memory;
    if (LLVMTargetMachineEmitToMemoryBuffer(emitter->machine, module, type, &error, &memory)) {
        HdStatus *status = hd_error(HD_INTERNAL, "kernel %s: LLVM emits no code: %s", kir_name(fn), error);
        LLVMDisposeMessage(error);
        return status;
    }
    hd_buf_bytes(out_bytes, LLVMGetBufferStart(memory), LLVMGetBufferSize(memory));
    LLVMDisposeMemoryBuffer(memory);
    return NULL;
}

static HdStatus *dump_llvm(const CgEmitter *emitter, const KirFn *fn, const char *prefix, LLVMModuleRef module) {
    if (!prefix) return NULL;
    char *ir = LLVMPrintModuleToString(module);
    HdStatus *status = dump(prefix, ".ll", ir, strlen(ir));
    LLVMDisposeMessage(ir);
    LLVMModuleRef copy = LLVMCloneModule(module);         // code generation changes the module
    HdBuf assembly = {0};
    if (!status) status = emit_file(emitter, fn, copy, LLVMAssemblyFile, &assembly);
    if (!status) status = dump(prefix, ".s", assembly.data, assembly.len);
    hd_buf_free(&assembly);
    LLVMDisposeModule(copy);
    return status;
}

static HdStatus *compile_module(const CgEmitter *emitter, const KirFn *fn, const char *dump_prefix, LLVMContextRef context,
                                LLVMModuleRef module, HdBuf *out_object) {
    set_module(emitter, context, module);
    LLVMErrorRef error = LLVMRunPasses(module, optimisation, emitter->machine, emitter->options);
    if (error) {
        char *text = LLVMGetErrorMessage(error);
        HdStatus *status = hd_error(HD_INTERNAL, "kernel %s: LLVM's passes failed: %s", kir_name(fn), text);
        LLVMDisposeErrorMessage(text);
        return status;
    }
    HD_TRY(dump_llvm(emitter, fn, dump_prefix, module));
    return emit_file(emitter, fn, module, LLVMObjectFile, out_object);
}

static HdStatus *translate(CgEmitter *emitter, const KirFn *fn, const char *dump_prefix, MlirModule module, HdBuf *out_object) {
    HD_TRY(lower_module(emitter, fn, dump_prefix, module));
    LLVMContextRef context = LLVMContextCreate();
    LLVMModuleRef llvm = mlirTranslateModuleToLLVMIR(mlirModuleGetOperation(module), context);
    HdStatus *status = llvm ? compile_module(emitter, fn, dump_prefix, context, llvm, out_object)
                            : mlir_failed(emitter, fn, "translation to LLVM IR");
    if (llvm) LLVMDisposeModule(llvm);
    LLVMContextDispose(context);
    return status;
}

HdStatus *cg_emit_object(CgEmitter *emitter, const KirFn *fn, const char *dump_prefix, HdBuf *out_object) {
    HD_TRY(dump_kernel(dump_prefix, fn));
    HD_TRY(kir_verify(fn, KIR_SIMD));
    HD_TRY(emit_check(fn, &emitter->target));
    MlirModule module = emit_module(emitter->context, &emitter->target, fn);
    HdStatus *status = translate(emitter, fn, dump_prefix, module, out_object);
    mlirModuleDestroy(module);
    return status;
}
