// SPDX-License-Identifier: Apache-2.0
//
// What libFuzzer calls. ALERTPIPE_FUZZ_CANARY=n plants the nth defect of the target.
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv);

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  if (const char* number = std::getenv("ALERTPIPE_FUZZ_CANARY"))
    alertpipe::fuzz::planted = std::atoi(number);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    alertpipe::fuzz::RunOne(std::string_view(reinterpret_cast<const char*>(data), size));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", alertpipe::fuzz::kTargetName, error.what());
    std::abort();
  }
  return 0;
}
