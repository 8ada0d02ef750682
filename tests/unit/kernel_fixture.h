// SPDX-License-Identifier: Apache-2.0
// For tests of generated code: builds kernels, compiles them for a target, loads the result into this process and calls it.
//
// A target of another instruction set takes two processes: with KERNEL_STORE a folder, kernels_link leaves the shared object there and the
// test is skipped; the same test built for that processor with KERNELS_STORED, which needs no compiler, loads what lies there.
#ifndef HEDDLE_TESTS_KERNEL_FIXTURE_H
#define HEDDLE_TESTS_KERNEL_FIXTURE_H

#include "codegen/codegen.h"
#include "runtime/cpu_features.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct Kernels {
    IrTarget target;
    CgEmitter *emitter;
    HD_VEC(HdBuf) objects;
    HdBuf shared;
    void *library;
    uint8_t scratch[4096] __attribute__((aligned(64)));
} Kernels;

static inline void expect_ok(HdStatus *status) {
    if (status) fail_msg("%s", hd_status_message(status));
}

static inline Kernels kernels_open(const char *target) {
    Kernels kernels = {0};
    expect_ok(ir_target_parse(target, &kernels.target));
#ifndef KERNELS_STORED
    expect_ok(cg_emitter_new(&kernels.target, &kernels.emitter));
#endif
    return kernels;
}

// Can code for the target run on this machine?
static inline bool kernels_runnable(const Kernels *kernels) {
    for (IrFeature f = 0; f < IR_FEATURE_COUNT; f++)
        if (ir_target_has(&kernels->target, f) && !hd_cpu_has(ir_feature_name(f))) return false;
    return true;
}

static inline KirFn *kernels_new(Kernels *kernels, const char *name) { return (void)kernels, kir_new(name); }

#ifdef KERNELS_STORED
// Who tests the emitter itself has done so where it is.
HdStatus *cg_emit_object(CgEmitter *emitter, const KirFn *fn, const char *dump_prefix, HdBuf *out_object) {
    (void)emitter, (void)fn, (void)dump_prefix, (void)out_object;
    skip();
    return NULL;
}

static inline void kernels_add(Kernels *kernels, KirFn *fn) { (void)kernels, kir_free(fn); }
#else
// Takes the kernel.
static inline void kernels_add(Kernels *kernels, KirFn *fn) {
    HdBuf object = {0};
    const char *prefix = getenv("KERNEL_DUMP");
    HdBuf path = {0};
    if (prefix) hd_buf_printf(&path, "%s.%s.%s", prefix, kernels->target.name, kir_name(fn));
    expect_ok(cg_emit_object(kernels->emitter, fn, path.data, &object));
    hd_buf_free(&path);
    hd_vec_push(&kernels->objects, object);
    kir_free(fn);
}
#endif

static inline void kernels_close(Kernels *kernels);

// The shared object in kernels->shared: from the linker, or from the store, where it has the number of this call.
static inline void kernels_make(Kernels *kernels) {
    static int number;
    const char *store = getenv("KERNEL_STORE");
    HdBuf path = {0};
    if (store) hd_buf_printf(&path, "%s/%d", store, number++);
#ifdef KERNELS_STORED
    expect_ok(hd_read_file(path.data, &kernels->shared));
#else
    expect_ok(cg_link(&kernels->target, kernels->objects.data, kernels->objects.len, &kernels->shared));
    if (store) expect_ok(hd_write_file(path.data, kernels->shared.data, kernels->shared.len));
#endif
    hd_buf_free(&path);
}

static inline void kernels_link(Kernels *kernels) {
    kernels_make(kernels);
    if (!kernels_runnable(kernels)) {
        kernels_close(kernels);
        skip();
    }
    int fd = memfd_create("kernels", MFD_CLOEXEC);
    assert_int_equal(write(fd, kernels->shared.data, kernels->shared.len), (ssize_t)kernels->shared.len);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    kernels->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    close(fd);
    if (!kernels->library) fail_msg("%s", dlerror());
}

static inline void kernels_call(Kernels *kernels, const char *name, int64_t units, const void *const *args, size_t count) {
    union { void *object; HeddleKernel *function; } symbol = {dlsym(kernels->library, name)};
    assert_non_null(symbol.object);
    uint64_t slots[16];
    assert_true(count <= HD_COUNT(slots));
    for (size_t i = 0; i < count; i++) slots[i] = (uint64_t)(uintptr_t)args[i];
    symbol.function(slots, 0, units, kernels->scratch);
}

static inline void kernels_close(Kernels *kernels) {
    if (kernels->library) dlclose(kernels->library);
    for (size_t i = 0; i < kernels->objects.len; i++) hd_buf_free(&kernels->objects.data[i]);
    hd_vec_free(&kernels->objects);
    hd_buf_free(&kernels->shared);
#ifndef KERNELS_STORED
    cg_emitter_free(kernels->emitter);
#endif
}

#endif
