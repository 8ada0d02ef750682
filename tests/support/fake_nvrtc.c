// SPDX-License-Identifier: Apache-2.0
// A stand-in for libnvrtc.so that gives the same text for every kernel, for tests of what NVRTC's version decides: it says 11.MINOR.
#include <string.h>

static const char code[] = "// PTX of a stand-in";

int nvrtcVersion(int *major, int *minor) { return *major = 11, *minor = MINOR, 0; }
int nvrtcGetNumSupportedArchs(int *count) { return *count = 1, 0; }
int nvrtcGetSupportedArchs(int *list) { return *list = 80, 0; }
int nvrtcCreateProgram(void **program, const char *source, const char *name, int headers, const char *const *texts, const char *const *names)
{
    (void)source, (void)name, (void)headers, (void)texts, (void)names;
    return *program = NULL, 0;
}
int nvrtcCompileProgram(void *program, int count, const char *const *options) { return (void)program, (void)count, (void)options, 0; }
int nvrtcGetProgramLogSize(void *program, size_t *bytes) { return (void)program, *bytes = 0, 0; }
int nvrtcGetProgramLog(void *program, char *text) { return (void)program, (void)text, 0; }
int nvrtcGetCUBINSize(void *program, size_t *bytes) { return (void)program, *bytes = 0, 0; }
int nvrtcGetCUBIN(void *program, char *bytes) { return (void)program, (void)bytes, 0; }
int nvrtcGetPTXSize(void *program, size_t *bytes) { return (void)program, *bytes = sizeof code, 0; }
int nvrtcGetPTX(void *program, char *bytes) { return (void)program, memcpy(bytes, code, sizeof code), 0; }
int nvrtcDestroyProgram(void **program) { return (void)program, 0; }
