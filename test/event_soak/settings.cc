// SPDX-License-Identifier: Apache-2.0
#include "settings.h"

#include <cstdlib>
#include <string_view>
#include <utility>

#include "books.h"

namespace alertpipe::event_soak {
namespace {

constexpr std::size_t kRoomyBytes = 65536;
constexpr double kSeconds = 60;
constexpr double kSecondsWithTargets = 900;
constexpr std::uint64_t kRaces = 1000;
constexpr std::uint64_t kRacesFull = 10000;
constexpr std::uint64_t kEventsFull = 10000000;

bool ReadCanary(std::string_view name, Canary* canary) {
  static constexpr std::pair<std::string_view, Canary> kNames[] = {
      {"", Canary::kNone},     {"swap", Canary::kSwap},
      {"lose", Canary::kLose}, {"duplicate", Canary::kDuplicate},
      {"gap", Canary::kGap},   {"unique", Canary::kUnique},
      {"hang", Canary::kHang}, {"die", Canary::kDie},
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

bool ReadPhases(std::string_view names, Settings* settings) {
  settings->order = settings->speed = settings->unique = false;
  while (!names.empty()) {
    const std::string_view name = names.substr(0, names.find(','));
    names.remove_prefix(name.size() < names.size() ? name.size() + 1 : name.size());
    if (name == "order") {
      settings->order = true;
    } else if (name == "speed") {
      settings->speed = true;
    } else if (name == "unique") {
      settings->unique = true;
    } else {
      return false;
    }
  }
  return true;
}

bool Apply(std::string_view name, double number, Settings* settings) {
  const auto count = static_cast<std::uint64_t>(number);
  if (name == "events") {
    settings->events = count;
  } else if (name == "seconds" && number > 0) {
    settings->seconds = number;
  } else if (name == "races" && count > 0 && 2 * count <= kRacesMax) {
    settings->races = count;
  } else if (name == "workers" && count >= 3 && count < kSlots) {
    settings->workers = static_cast<int>(count);
  } else if (name == "publishers" && count >= 2 && count < kSlots) {
    settings->publishers = static_cast<int>(count);
  } else if (name == "seed") {
    settings->seed = count;
  } else if (name == "capacity") {
    settings->capacity = count;
  } else if (name == "round" && count > 0 && count <= kLogMax / 4) {
    settings->round_events = count;
  } else if (name == "kill-ms" && count <= 100000) {
    settings->kill_ms = static_cast<unsigned>(count);
  } else if (name == "stop-ms" && count <= 100000) {
    settings->stop_ms = static_cast<unsigned>(count);
  } else if (name == "gap-percent" && count <= 100) {
    settings->gap_percent = static_cast<unsigned>(count);
  } else if (name == "patience") {
    settings->patience_seconds = number;
  } else if (name == "stall") {
    settings->stall_seconds = number;
  } else {
    return false;
  }
  return true;
}

void Complete(bool full, Settings* settings) {
  if (full && settings->events == 0) settings->events = kEventsFull;
  if (settings->seconds == 0)
    settings->seconds = settings->events == 0 ? kSeconds : kSecondsWithTargets;
  if (settings->races == 0) settings->races = full ? kRacesFull : kRaces;
}

}  // namespace

std::string ReadSettings(int argc, char** argv, Settings* settings) {
  bool full = false;
  for (int i = 1; i < argc; ++i) {
    std::string option = argv[i];
    if (option == "--full") {
      full = true;
    } else if (option == "--json") {
      settings->json = true;
    } else if (option == "--help") {
      settings->help = true;
    } else {
      // "--name=value" or "--name value"
      if (option.find('=') == std::string::npos && i + 1 < argc) option = option + "=" + argv[++i];
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
  }
  if (settings->publishers > settings->workers) settings->publishers = settings->workers;
  Complete(full, settings);
  const char* canary = std::getenv("ALERTPIPE_SOAK_CANARY");
  if (canary != nullptr && !ReadCanary(canary, &settings->canary))
    return std::string("no such canary: ") + canary;
  const char* scale = std::getenv("ALERTPIPE_TIME_SCALE");
  double factor = 1;
  if (scale != nullptr && ReadNumber(scale, &factor)) {
    settings->patience_seconds *= factor;
    settings->stall_seconds *= factor;
  }
  if (settings->capacity < kRoomyBytes || factor > 1) settings->gap_percent = 100;
  return std::string();
}

const char* Usage() {
  return "./dev soak-events [OPTION...]\n"
         "One family of workers that publish ordered and other events to all, under kill -9 and\n"
         "SIGSTOP, and an account of it: one order, nothing lost, no worker that waits.\n"
         "  --seconds N     for all phases (60; 900 with targets)\n"
         "  --events N      ordered events to publish in phase `order`, a tenth in `speed`\n"
         "  --races N       unique keys that all publish at once (1000)\n"
         "  --full          --events 10000000 --races 10000\n"
         "  --workers N     (16)\n"
         "  --publishers N  in phase `order` (8); in `speed` all publish\n"
         "  --phase NAMES   some of order,speed,unique\n"
         "  --seed N        of what is decided; printed at the end (1)\n"
         "  --capacity N    bytes of a pipe (65536)\n"
         "  --round N       ordered events between two quiet points (200000)\n"
         "  --kill-ms N     between two kills, on an average (80; 0: none)\n"
         "  --stop-ms N     between two stops (60; 0: none)\n"
         "  --patience N    seconds that anything that must happen may take (30)\n"
         "  --stall N       seconds that the news of a running worker may be old (5)\n"
         "  --gap-percent N gaps that are allowed under light load in pipes of 64 KiB (1)\n"
         "  --json          the figures as one line of JSON\n"
         "The exit code is 0 when nothing was violated and the targets were reached.\n";
}

}  // namespace alertpipe::event_soak
