// SPDX-License-Identifier: Apache-2.0
//
// alertpipe-stat: shows the figures of the families of a master, from outside.
#include <alertpipe/family_stats.h>
#include <alertpipe/limits.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <absl/strings/ascii.h>
#include <absl/strings/numbers.h>
#include <absl/strings/str_cat.h>
#include <absl/strings/str_format.h>
#include <absl/strings/string_view.h>
#include <absl/strings/strip.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

namespace {

using alertpipe::FamilyStats;
using alertpipe::IncarnationStats;
using alertpipe::SlotStats;
using alertpipe::Stats;

constexpr char kUsage[] =
    "usage: alertpipe-stat [--watch[=SECONDS]] PID [SLOT]\n"
    "Shows what each process of the family of the master PID has counted; a dead worker's last\n"
    "figures are marked \"last\". With SLOT (0 is the master) every counter of that slot.\n"
    "--watch shows it again every second, or every SECONDS (0.01 to 1000000), until the master "
    "has\n"
    "gone.\n";

using Row = std::vector<std::string>;

// The first row is the heading. Columns of numbers are aligned to the right.
void PrintTable(const std::vector<Row>& rows) {
  std::vector<int> widths(rows.front().size());  // negative: to the left
  for (std::size_t column = 0; column < widths.size(); ++column) {
    bool numbers = true;
    for (const Row& row : rows) {
      widths[column] = std::max(widths[column], static_cast<int>(row[column].size()));
      if (&row != &rows.front()) numbers = numbers && absl::ascii_isdigit(row[column][0]);
    }
    if (!numbers) widths[column] = -widths[column];
  }
  for (const Row& row : rows) {
    std::string line;
    for (std::size_t column = 0; column < row.size(); ++column) {
      if (column > 0) line += "  ";
      absl::StrAppendFormat(&line, "%*s", widths[column], row[column]);
    }
    std::puts(line.c_str());
  }
}

Row Heading() {
  return {"SLOT",        "GENERATION", "PID",       "STATE", "ACCEPTED", "REFUSED",
          "UNDELIVERED", "DELIVERED",  "UNHANDLED", "STALE", "DRAINED",  "PACKETS-OUT",
          "PACKETS-IN",  "EAGAIN",     "QUEUED",    "PEAK",  "DAMAGE",   "PIPE"};
}

Row RowOf(const IncarnationStats& figures, std::string_view state) {
  const Stats& stats = figures.stats;
  Row row = {absl::StrCat(figures.peer.slot), absl::StrCat(figures.peer.generation),
             absl::StrCat(figures.peer.pid), std::string(state)};
  for (const std::uint64_t figure :
       {stats.alerts_accepted, stats.alerts_refused, stats.alerts_undelivered,
        stats.alerts_delivered, stats.alerts_unhandled, stats.alerts_stale, stats.alerts_drained,
        stats.packets_written, stats.packets_read, stats.writes_blocked + stats.reads_empty,
        stats.queued_bytes, stats.queued_bytes_peak,
        stats.damaged_framing + stats.damaged_packets + stats.damaged_records,
        stats.pipe_capacity}) {
    row.push_back(absl::StrCat(figure));
  }
  return row;
}

std::string_view StateOf(const SlotStats& slot) {
  if (slot.slot != alertpipe::kMasterSlot) return ToString(slot.state);
  return slot.state == alertpipe::SlotState::kUp ? "attached" : "no loop";
}

void PrintFamily(const FamilyStats& family) {
  std::vector<Row> rows = {Heading()};
  for (const SlotStats& slot : family.slots) {
    if (slot.live.has_value()) rows.push_back(RowOf(*slot.live, StateOf(slot)));
    if (slot.last.has_value()) rows.push_back(RowOf(*slot.last, "last"));
  }
  absl::PrintF("family of master %d, %d slots for workers\n", family.master.pid,
               family.slots.size() - 1);
  PrintTable(rows);
}

// Where the family keeps them.
void AddLatencies(const std::vector<Stats>& columns, std::vector<Row>* rows) {
  const auto kept = [](const Stats& stats) { return stats.latency.count() > 0; };
  if (std::none_of(columns.begin(), columns.end(), kept)) return;
  for (const double percent : {50.0, 90.0, 99.0, 99.9}) {
    rows->push_back({absl::StrCat("latency, ", percent, " % below")});
    for (const Stats& stats : columns)
      rows->back().push_back(absl::FormatDuration(stats.latency.Percentile(percent)));
  }
}

void PrintSlot(const FamilyStats& family, const SlotStats& slot) {
  absl::PrintF("family of master %d, slot %d, %s\n", family.master.pid, slot.slot,
               std::string(StateOf(slot)));
  std::vector<Row> rows = {{"COUNTER"}};
  std::vector<Stats> columns;
  for (const auto& [figures, title] :
       {std::make_pair(&slot.live, "NOW"), std::make_pair(&slot.last, "LAST")}) {
    if (!figures->has_value()) continue;
    rows[0].push_back(absl::StrCat(title, " (pid ", (*figures)->peer.pid, ", generation ",
                                   (*figures)->peer.generation, ")"));
    columns.push_back((*figures)->stats);
  }
#define ALERTPIPE_ADD_ROW(name) \
  rows.push_back({#name});      \
  for (const Stats& stats : columns) rows.back().push_back(absl::StrCat(stats.name));
  ALERTPIPE_STATS(ALERTPIPE_ADD_ROW)
#undef ALERTPIPE_ADD_ROW
  AddLatencies(columns, &rows);
  PrintTable(rows);
}

struct Request {
  int pid = 0;
  std::optional<int> slot;
  absl::Duration every = absl::ZeroDuration();  // 0: once
};

std::optional<Request> Parse(int count, char** words) {
  Request request;
  for (int i = 1; i < count; ++i) {
    absl::string_view word = words[i];
    double seconds = 1;
    int number = 0;
    if (word == "--watch" || absl::ConsumePrefix(&word, "--watch=")) {
      if (word != "--watch" && !absl::SimpleAtod(word, &seconds)) return std::nullopt;
      // Not so often that looking costs more than what is looked at.
      if (!(seconds >= 0.01 && seconds <= 1e6)) return std::nullopt;
      request.every = absl::Seconds(seconds);
    } else if (!absl::SimpleAtoi(word, &number) || number < 0) {
      return std::nullopt;
    } else if (request.pid == 0) {
      request.pid = number;
    } else if (!request.slot.has_value()) {
      request.slot = number;
    } else {
      return std::nullopt;
    }
  }
  if (request.pid == 0) return std::nullopt;
  return request;
}

// 0 when something was shown.
int Show(const Request& request, const std::vector<FamilyStats>& families) {
  int shown = 0;
  for (const FamilyStats& family : families) {
    if (!request.slot.has_value()) {
      PrintFamily(family);
      ++shown;
    } else if (static_cast<std::size_t>(*request.slot) < family.slots.size()) {
      PrintSlot(family, family.slots[static_cast<std::size_t>(*request.slot)]);
      ++shown;
    }
  }
  std::fflush(stdout);
  if (shown > 0) return 0;
  absl::FPrintF(stderr, "alertpipe-stat: process %d has no slot %d\n", request.pid, *request.slot);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::optional<Request> request = Parse(argc, argv);
  if (!request.has_value()) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  for (bool first = true;; first = false) {
    const auto families = alertpipe::ReadFamilyStats(request->pid);
    if (!families.ok()) {
      if (!first && absl::IsNotFound(families.status())) return 0;
      absl::FPrintF(stderr, "alertpipe-stat: %s\n", families.status().message());
      // A dead process that nobody has reaped yet belongs to root.
      return !first && absl::IsPermissionDenied(families.status()) ? 0 : 1;
    }
    if (!first) std::fputs(isatty(STDOUT_FILENO) != 0 ? "\033[H\033[2J" : "\n", stdout);
    if (const int code = Show(*request, *families); code != 0) return code;
    if (request->every == absl::ZeroDuration()) return 0;
    absl::SleepFor(request->every);
  }
}
