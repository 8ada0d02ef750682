# SPDX-License-Identifier: Apache-2.0
# heddle::heddle, the runtime; with COMPONENTS pass also heddle::pass, for passes of one's own.
include("${CMAKE_CURRENT_LIST_DIR}/heddleTargets.cmake")
if("pass" IN_LIST heddle_FIND_COMPONENTS)
  include("${CMAKE_CURRENT_LIST_DIR}/heddlePass.cmake")
endif()
