// SPDX-License-Identifier: Apache-2.0
//
// What libFuzzer calls. ALERTPIPE_FUZZ_CANARY=n plants the nth defect of the target; exit code 3
// says that it has no such.
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv);

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* number = std::getenv("ALERTPIPE_FUZZ_CANARY");
  if (number == nullptr) return 0;
  using alertpipe::fuzz::kCanaries;
  const int canary = std::atoi(number);
  if (canary < 1 || canary > static_cast<int>(kCanaries.size())) std::exit(3);
  std::fprintf(stderr, "planted: %s\n", kCanaries[static_cast<std::size_t>(canary) - 1]);
  alertpipe::fuzz::planted = canary;
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
