# Builds and runs tests/package as a user would.
#   -DHOW=find_package|static|add_subdirectory|subdirectory -DVERSION -DSOURCE -DBUILD -DTORCH -DGENERATOR -DMODEL
# `static` is find_package of a static library, which is built first. `subdirectory` is the quick part of add_subdirectory:
# the project is configured, and the consumer compiled, not linked.
set(work ${BUILD}/package-${HOW})
file(REMOVE_RECURSE ${work})
set(consumer ${work}/consumer)
set(prefix ${work}/prefix)
file(COPY ${SOURCE}/tests/package/ DESTINATION ${consumer})

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(failed)
    message(FATAL_ERROR "${ARGN}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(build_and_run folder)
  run(${CMAKE_COMMAND} --build ${folder} --target consumer)
  run(${folder}/consumer ${MODEL})
  if(NOT output STREQUAL "motet ${VERSION}: 2 rows, 8 heads\n")
    message(FATAL_ERROR "the consumer said:\n${output}")
  endif()
endfunction()

unset(ENV{LD_LIBRARY_PATH})
set(configure ${CMAKE_COMMAND} -S ${consumer} -G ${GENERATOR})
if(HOW STREQUAL "static")
  run(${CMAKE_COMMAND} -S ${SOURCE} -B ${work}/static -G ${GENERATOR} -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF
      -DCMAKE_UNITY_BUILD=ON -DMOTET_BUILD_TESTS=OFF -DTorch_DIR=${TORCH})
  run(${CMAKE_COMMAND} --build ${work}/static)
  set(BUILD ${work}/static)
endif()
if(HOW MATCHES "find_package|static")
  unset(ENV{CMAKE_PREFIX_PATH})  # the package remembers its LibTorch
  unset(ENV{Torch_DIR})
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix})
  run(${configure} -B ${work}/build -DCMAKE_BUILD_TYPE=Release -Dmotet_ROOT=${prefix})
  run(${prefix}/bin/motet-compare --version)
  build_and_run(${work}/build)

  # As other users have it: moved, with a space in its name; with Make; as C++23; in a project that has LibTorch already.
  set(moved "${work}/moved prefix")
  file(RENAME ${prefix} ${moved})
  run(${CMAKE_COMMAND} -S ${consumer} -G "Unix Makefiles" -B ${work}/other-build -DCMAKE_CXX_STANDARD=23 -DCMAKE_BUILD_TYPE=
      -DCONSUMER_HAS_TORCH=ON -DTorch_DIR=${TORCH} "-Dmotet_ROOT=${moved}")
  build_and_run(${work}/other-build)
  run(${moved}/bin/motet-compare --version)
  file(RENAME ${moved} ${prefix})

  # Another LibTorch is refused, with what to set.
  file(WRITE ${work}/other/TorchConfig.cmake "set(TORCH_LIBRARIES torch)\n")
  file(WRITE ${work}/other/TorchConfigVersion.cmake
       "set(PACKAGE_VERSION 1.0.0)\nset(PACKAGE_VERSION_COMPATIBLE TRUE)\n")
  execute_process(COMMAND ${configure} -B ${work}/refused -Dmotet_ROOT=${prefix} -DTorch_DIR=${work}/other
                  RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE error)
  string(REGEX REPLACE "[ \n]+" " " error "${error}")
  string(FIND "${error}" "motet was built with LibTorch" found)
  string(FIND "${error}" "but Torch_DIR gives 1.0.0 (${work}/other); set Torch_DIR to ${TORCH}" told)
  if(NOT failed OR found EQUAL -1 OR told EQUAL -1)
    message(FATAL_ERROR "another LibTorch was not refused as it should be:\n${error}")
  endif()

  # So are a Torch_DIR without LibTorch, beside a place that has one, and a component.
  function(refuse what)
    execute_process(COMMAND ${configure} -B ${work}/refused-again --fresh -Dmotet_ROOT=${prefix} ${ARGN}
                    RESULT_VARIABLE failed OUTPUT_QUIET ERROR_VARIABLE error)
    string(REGEX REPLACE "[ \n]+" " " error "${error}")
    string(FIND "${error}" "${what}" told)
    if(NOT failed OR told EQUAL -1)
      message(FATAL_ERROR "should have been refused, with '${what}':\n${error}")
    endif()
  endfunction()
  refuse("Torch_DIR is ${work}/nowhere, which holds no TorchConfig.cmake" -DTorch_DIR=${work}/nowhere
         -DCMAKE_PREFIX_PATH=${TORCH}/../..)
  refuse("motet has no component 'foo'" -DCONSUMER_COMPONENT=foo)
  file(REMOVE_RECURSE ${work})
  return()
else()
  if(HOW STREQUAL "add_subdirectory")
    set(unity ON)  # less to compile
  endif()
  run(${configure} -B ${work}/build -DCMAKE_BUILD_TYPE=None -DCMAKE_UNITY_BUILD=${unity} -DMOTET_SOURCE=${SOURCE} -DTorch_DIR=${TORCH})
endif()
if(HOW STREQUAL "subdirectory")
  run(${CMAKE_COMMAND} --build ${work}/build --target CMakeFiles/consumer.dir/consumer.cpp.o)
  file(REMOVE_RECURSE ${work})
  return()
endif()
build_and_run(${work}/build)
file(REMOVE_RECURSE ${work})
