// SPDX-License-Identifier: Apache-2.0
//
// Checks that stay on in release builds. They are for mistakes in this library or in the program
// that uses it. Bytes that come out of a pipe never reach one: they are validated, counted and
// survived.
#ifndef ALERTPIPE_CORE_CHECK_H_
#define ALERTPIPE_CORE_CHECK_H_

namespace alertpipe::core {

[[noreturn]] void CheckFailed(const char* file, int line, const char* what);

}  // namespace alertpipe::core

#define ALERTPIPE_CHECK(condition, what)                        \
  do {                                                          \
    if (__builtin_expect(!(condition), 0)) {                    \
      ::alertpipe::core::CheckFailed(__FILE__, __LINE__, what); \
    }                                                           \
  } while (false)

#endif  // ALERTPIPE_CORE_CHECK_H_
