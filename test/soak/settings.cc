// SPDX-License-Identifier: Apache-2.0
#include "settings.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "ledger.h"

namespace alertpipe::soak {
namespace {

bool ReadCanary(std::string_view name, Canary* canary) {
  static constexpr std::pair<std::string_view, Canary> kNames[] = {
      {"", Canary::kNone},
      {"drop", Canary::kDrop},
      {"duplicate", Canary::kDuplicate},
      {"reorder", Canary::kReorder},
      {"corrupt", Canary::kCorrupt},
      {"misdeliver", Canary::kMisdeliver},
      {"invent", Canary::kInvent},
      {"late", Canary::kLate},
      {"forget", Canary::kForget},
      {"hang", Canary::kHang},
      {"die", Canary::kDie},
      {"leak", Canary::kLeak},
      {"hasty", Canary::kHasty},
      {"descriptor", Canary::kDescriptor},
  };
  for (const auto& [known, value] : kNames) {
    if (known != name) continue;
    *canary = value;
    return true;
  }
  return false;
}

bool ReadNumber(const std::string& text, double* number) {
  char* end = nullptr;
  *number = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' && *number >= 0;
}

// Phases that are named, of kill, stream and replace.
bool ReadPhases(std::string_view names, Settings* settings) {
  settings->kill = settings->stream = settings->replace = false;
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find(','));
    names.remove_prefix(name.size() < names.size() ? name.size() + 1 : name.size());
    if (name == "kill") {
      settings->kill = true;
    } else if (name == "stream") {
      settings->stream = true;
    } else if (name == "replace") {
      settings->replace = true;
    } else {
      return false;
    }
  }
  return true;
}

bool Apply(const std::string& name, double number, Settings* settings) {
  const auto count = static_cast<std::uint64_t>(number);
  if (name == "capacity") {
    settings->capacity = count;
  } else if (name == "seconds") {
    settings->seconds = number;
  } else if (name == "kills") {
    settings->kills = count;
  } else if (name == "alerts") {
    settings->alerts = count;
  } else if (name == "replacements") {
    settings->replacements = count;
  } else if (name == "seed") {
    settings->seed = count;
  } else if (name == "workers" && count >= 3 && count <= kSlots - 3) {
    settings->workers = static_cast<int>(count);
  } else if (name == "round") {
    settings->round_seconds = number;
  } else if (name == "patience") {
    settings->patience_seconds = number;
  } else {
    return false;
  }
  return true;
}

}  // namespace

std::string ReadSettings(int argc, char** argv, Settings* settings) {
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    const std::size_t equals = option.find('=');
    if (option.compare(0, 2, "--") != 0 || equals == std::string::npos)
      return "not an option: " + option;
    const std::string name = option.substr(2, equals - 2);
    const std::string value = option.substr(equals + 1);
    double number = 0;
    if (name == "phase") {
      if (!ReadPhases(value, settings)) return "no such phase: " + value;
    } else if (!ReadNumber(value, &number) || !Apply(name, number, settings)) {
      return "not understood: " + option;
    }
  }
  // So that a short run has rounds of all kinds.
  settings->round_seconds = std::min(settings->round_seconds, settings->seconds / 8);
  const char* canary = std::getenv("ALERTPIPE_SOAK_CANARY");
  if (canary != nullptr && !ReadCanary(canary, &settings->canary))
    return std::string("no such canary: ") + canary;
  const char* scale = std::getenv("ALERTPIPE_TIME_SCALE");
  double factor = 1;
  if (scale != nullptr && ReadNumber(scale, &factor)) settings->patience_seconds *= factor;
  return std::string();
}

const char* Usage() {
  return "soak [--capacity=BYTES] [--seconds=N] [--kills=N] [--alerts=N] [--replacements=N]\n"
         "     [--phase=kill,stream,replace] [--seed=N] [--workers=N] [--round=SECONDS]\n"
         "     [--patience=SECONDS]\n"
         "One family of workers under kill -9, SIGSTOP and replacement. Ends when all targets are\n"
         "reached or the time is over, and prints its figures as one line of JSON.\n";
}

}  // namespace alertpipe::soak
