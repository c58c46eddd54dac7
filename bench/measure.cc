// SPDX-License-Identifier: Apache-2.0
//
// One measurement: one workload over one transport, once; the result is a line of JSON. bench.py
// runs this in rounds; run it by hand to look at one transport with a profiler.
#include <absl/flags/flag.h>
#include <absl/flags/parse.h>
#include <absl/flags/usage.h>
#include <absl/strings/str_cat.h>
#include <alertpipe/master.h>

#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "board.h"
#include "settings.h"
#include "transport.h"

ABSL_FLAG(std::string, workload, "stream", "stream, pingall, pingpong, fanout or fanin");
ABSL_FLAG(std::string, transport, "alertpipe", "one of those that --list prints");
ABSL_FLAG(int, round, 1, "the number of the round, for the result");
ABSL_FLAG(int, workers, 2, "all processes; in a fanout its receivers, in a fanin its senders");
ABSL_FLAG(std::uint64_t, bytes, 10, "data of an alert");
ABSL_FLAG(double, seconds, 1, "measured time");
ABSL_FLAG(std::uint64_t, capacity, alertpipe::MasterOptions().pipe_capacity,
          "of each pipe in bytes; 0 leaves the kernel's default");
ABSL_FLAG(int, linger, 0, "how often an empty inbox is tried again before the process sleeps");
ABSL_FLAG(int, run, alertpipe::bench::Settings().run, "packets that leave with one call");
ABSL_FLAG(bool, checksum, false, "compare all of the contents");
ABSL_FLAG(std::string, break, "", "drop or corrupt: a fault that has to be noticed");
ABSL_FLAG(double, patience, 10, "seconds that the start and the end may take");
ABSL_FLAG(bool, list, false, "print the transports, a line of JSON each");

namespace alertpipe::bench {
namespace {

constexpr double kMegabyte = 1048576;

absl::StatusOr<Settings> ReadFlags() {
  Settings settings;
  if (!FromString(absl::GetFlag(FLAGS_workload), &settings.workload)) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no workload ", absl::GetFlag(FLAGS_workload)));
  }
  settings.transport = absl::GetFlag(FLAGS_transport);
  if (Transports().count(settings.transport) == 0) {
    return absl::InvalidArgumentError(Absence(settings.transport));
  }
  if (!FromString(absl::GetFlag(FLAGS_break), &settings.fault)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--break must be drop or corrupt, not ", absl::GetFlag(FLAGS_break)));
  }
  settings.round = absl::GetFlag(FLAGS_round);
  settings.workers = absl::GetFlag(FLAGS_workers);
  settings.bytes = absl::GetFlag(FLAGS_bytes);
  settings.seconds = absl::GetFlag(FLAGS_seconds);
  settings.capacity = absl::GetFlag(FLAGS_capacity);
  settings.linger = absl::GetFlag(FLAGS_linger);
  settings.run = absl::GetFlag(FLAGS_run);
  settings.checksum = absl::GetFlag(FLAGS_checksum);
  settings.patience = absl::GetFlag(FLAGS_patience);
  if (absl::Status checked = settings.Check(); !checked.ok()) return checked;
  if (settings.linger > 0 && !Transports().at(settings.transport).can.linger) {
    return absl::InvalidArgumentError(absl::StrCat(settings.transport, " cannot linger"));
  }
  return settings;
}

// What the processes found, taken together.
struct Result {
  double alerts_per_second = 0;
  double p50_us = 0;
  double p99_us = 0;
  double p999_us = 0;
  std::uint64_t alerts_sent = 0;
  std::uint64_t packets_written = 0;
  bool verified = true;
};

Result Collect(const Settings& settings, Board* board, const absl::Status& status) {
  Result result;
  result.verified = status.ok();
  for (int i = 0; i < board->processes(); ++i) {
    const Place& place = board->place(i);
    result.alerts_per_second += place.alerts_per_second;
    result.p50_us += place.p50_us;
    result.p99_us += place.p99_us;
    result.p999_us += place.p999_us;
    result.alerts_sent += place.alerts_sent;
    result.packets_written += place.packets_written;
    if (!place.failed.load()) continue;
    result.verified = false;
    std::cerr << settings.transport << ", process " << i << ": " << place.why << "\n";
  }
  if (result.verified && result.alerts_per_second <= 0) {
    result.verified = false;
    std::cerr << settings.transport << ": nothing could be counted; --seconds is too short\n";
  }
  return result;
}

void Print(const Settings& settings, std::size_t capacity, const Result& result) {
  nlohmann::ordered_json line;
  const auto or_null = [](double value) {
    return value > 0 ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
  };
  line["workload"] = std::string(ToString(settings.workload));
  line["transport"] = settings.transport;
  line["round"] = settings.round;
  line["workers"] = settings.workers;
  line["bytes"] = settings.bytes;
  line["capacity"] = capacity;
  line["linger"] = settings.linger;
  line["run"] = Transports().at(settings.transport).can.run ? nlohmann::ordered_json(settings.run)
                                                            : nlohmann::ordered_json();
  line["alerts_per_second"] = result.alerts_per_second;
  line["megabytes_per_second"] =
      result.alerts_per_second * static_cast<double>(settings.bytes) / kMegabyte;
  line["p50_us"] = or_null(result.p50_us);
  line["p99_us"] = or_null(result.p99_us);
  line["p999_us"] = or_null(result.p999_us);
  line["packets_per_alert"] =
      or_null(result.alerts_sent == 0 ? 0
                                      : static_cast<double>(result.packets_written) /
                                            static_cast<double>(result.alerts_sent));
  line["verified"] = result.verified;
  std::cout << line.dump() << std::endl;
}

// All that this program knows; `missing` is the package that those need that it was built without.
void List() {
  std::map<std::string, nlohmann::ordered_json> lines;
  for (const Requirement& requirement : kRequirements) {
    lines[requirement.transport] = {{"missing", requirement.package}, {"on_request", false}};
  }
  for (const auto& [name, known] : Transports()) {
    lines[name] = {{"missing", nullptr},
                   {"linger", known.can.linger},
                   {"run", known.can.run},
                   {"on_request", known.can.on_request}};
  }
  for (auto& [name, line] : lines) {
    line["transport"] = name;
    std::cout << line.dump() << "\n";
  }
}

int Main() {
  if (absl::GetFlag(FLAGS_list)) {
    List();
    return 0;
  }
  const absl::StatusOr<Settings> settings = ReadFlags();
  if (!settings.ok()) {
    std::cerr << settings.status().message() << "\n";
    return 2;
  }
  const auto board = Board::Create(settings->processes());
  if (!board.ok()) {
    std::cerr << board.status().message() << "\n";
    return 1;
  }
  std::size_t capacity = 0;
  const absl::Status status =
      Transports().at(settings->transport).measure(*settings, board->get(), &capacity);
  if (!status.ok()) std::cerr << settings->transport << ": " << status.message() << "\n";
  const Result result = Collect(*settings, board->get(), status);
  if (capacity != 0) Print(*settings, capacity, result);
  return result.verified ? 0 : 1;
}

}  // namespace
}  // namespace alertpipe::bench

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("one measurement; the result is a line of JSON");
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  if (rest.size() > 1) {
    std::cerr << "not an option: " << rest[1] << "\n";
    return 2;
  }
  return alertpipe::bench::Main();
}
