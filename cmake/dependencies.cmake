# What the library is built from. Torch brings its own, newer fmt headers, found first: hence header-only.
set(CMAKE_FIND_PACKAGE_TARGETS_GLOBAL TRUE)  # a project that adds this one as a folder links them too
if(Torch_DIR AND NOT EXISTS "${Torch_DIR}/TorchConfig.cmake")  # or another copy would be taken in silence
  message(FATAL_ERROR "Torch_DIR is ${Torch_DIR}, which holds no TorchConfig.cmake; set it to a copy of LibTorch, or leave it out")
endif()
find_package(Torch 2.4 REQUIRED)
find_package(Eigen3 3.3 REQUIRED NO_MODULE)
find_package(fmt REQUIRED)
find_package(nlohmann_json 3.10 REQUIRED)
find_package(OpenMP REQUIRED)  # without it at::parallel_for runs on one thread, silently
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(PkgConfig REQUIRED)
pkg_check_modules(HWY REQUIRED IMPORTED_TARGET libhwy>=1.0.3)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8>=10.40)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
