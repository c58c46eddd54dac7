// SPDX-License-Identifier: Apache-2.0
//
// What a person sees: GoogleTest's familiar lines, and the output of a case only when it failed.
#ifndef ALERTPIPE_RUNNER_CONSOLE_H_
#define ALERTPIPE_RUNNER_CONSOLE_H_

#include <pugixml.hpp>
#include <string>
#include <vector>

#include "runner/verdict.h"

namespace alertpipe::runner {

class Console {
 public:
  explicit Console(bool verbose) : verbose_(verbose) {}

  void ShowStart(const std::string& name) const;
  void ShowDisabled(const std::string& name);

  // `output` is what the case printed.
  void ShowVerdict(const std::string& name, const pugi::xml_node& test_case,
                   const std::string& output);

  // Returns whether no case failed.
  bool ShowSummary() const;

 private:
  const bool verbose_;
  int disabled_ = 0;
  int passed_ = 0;
  int skipped_ = 0;
  std::vector<std::string> failed_;
};

}  // namespace alertpipe::runner

#endif  // ALERTPIPE_RUNNER_CONSOLE_H_
