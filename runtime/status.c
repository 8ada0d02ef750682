// SPDX-License-Identifier: Apache-2.0
// Status values under their public names.
#include "runtime/heddle.h"

#include "runtime/base/base.h"

#define HD_STATUS(name, exit_code, doc) \
    _Static_assert((int)HEDDLE_##name == (int)HD_##name, "heddle.h lists the codes in the order of status.def");
#include "runtime/base/status.def"
#undef HD_STATUS
_Static_assert((int)HEDDLE_INTERNAL + 1 == (int)HD_CODE_COUNT, "heddle.h lists all codes of status.def");

HeddleCode heddle_status_code(const HeddleStatus *status) { return (HeddleCode)hd_status_code(status); }
const char *heddle_status_message(const HeddleStatus *status) { return hd_status_message(status); }
void heddle_status_free(HeddleStatus *status) { hd_status_free(status); }
const char *heddle_code_name(HeddleCode code) { return hd_code_name((HdCode)code); }
int heddle_code_exit(HeddleCode code) { return hd_code_exit((HdCode)code); }
const char *heddle_version(void) { return HEDDLE_VERSION; }
