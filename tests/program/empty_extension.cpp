// A shared library that registers nothing.
#include "motet/version.h"

extern "C" const char* what_is_linked() { return motet::version().data(); }
