# Writes version.cpp with the git revision at every build, touching the file only when something changed.
# As a script (cmake -P): -DVERSION -DSOURCE -DOUTPUT.
if(CMAKE_SCRIPT_MODE_FILE)
  set(revision unknown)
  find_package(Git QUIET)
  if(Git_FOUND AND EXISTS ${SOURCE}/.git)
    execute_process(COMMAND ${GIT_EXECUTABLE} describe --always --dirty --abbrev=12 --match=
                    WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE found ERROR_QUIET
                    OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(found)
      set(revision ${found})
    endif()
  endif()
  file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[#include "motet/version.h"

namespace motet {

std::string_view version() { return "@VERSION@"; }
std::string_view revision() { return "@revision@"; }

}  // namespace motet
]])
  return()
endif()

set(version_source ${PROJECT_BINARY_DIR}/version.cpp)
add_custom_target(motet_version BYPRODUCTS ${version_source}
  COMMAND ${CMAKE_COMMAND} -DVERSION=${PROJECT_VERSION} -DSOURCE=${PROJECT_SOURCE_DIR}
          -DOUTPUT=${version_source} -P ${CMAKE_CURRENT_LIST_FILE}
  COMMENT "git revision" VERBATIM)
