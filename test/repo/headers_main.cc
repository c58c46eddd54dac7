// SPDX-License-Identifier: Apache-2.0
//
// Linked with one file for each public header. That these compile is the test; what is left to run
// is that the program's language level is the one that was asked for and the library answers.
#include <alertpipe/version.h>

#include <cstdio>

static_assert(__cplusplus == EXPECTED_STANDARD, "compiled for another standard");

int main() {
  if (alertpipe::Version().empty()) return 1;
  std::puts(alertpipe::Version().data());
  return 0;
}
