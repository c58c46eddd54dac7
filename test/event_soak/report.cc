// SPDX-License-Identifier: Apache-2.0
//
// The figures of an event soak: a table for people, or one line of JSON for programs.
#include <cinttypes>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "director.h"

namespace alertpipe::event_soak {
namespace {

using Figures = std::vector<std::pair<std::string, std::uint64_t>>;

void Add(const Deeds& deeds, Figures* figures) {
  static constexpr const char* kDoing[kDoings] = {"in_the_loop", "in_a_callback", "in_publish",
                                                  "before_the_claim"};
  figures->insert(figures->end(), {{"events_order", deeds.order_events},
                                   {"events_speed", deeds.speed_events},
                                   {"kills", deeds.kills}});
  for (int i = 0; i < kDoings; ++i)
    figures->emplace_back(std::string("kills_") + kDoing[i], deeds.kills_doing[i]);
  figures->insert(figures->end(), {{"kills_before_ready", deeds.kills_young},
                                   {"kills_while_stopped", deeds.kills_stopped},
                                   {"stops", deeds.stops}});
  for (int i = 0; i < kDoings; ++i)
    figures->emplace_back(std::string("stops_") + kDoing[i], deeds.stops_doing[i]);
  figures->insert(figures->end(), {{"stops_of_a_second", deeds.stops_long},
                                   {"stops_beyond_the_limit", deeds.stops_watched},
                                   {"oldest_news_ms", deeds.oldest_news_ns / 1000000},
                                   {"unique_keys", deeds.races},
                                   {"unique_keys_with_kills", deeds.races_killed},
                                   {"unique_kills", deeds.races_kills},
                                   {"unique_keys_unheard", deeds.races_unheard}});
}

void Add(const Totals& totals, Figures* figures) {
  for (int i = 0; i < kKinds; ++i) {
    const std::string kind = NameOf(static_cast<Kind>(i));
    figures->insert(figures->end(), {{kind + "_published", totals.published[i]},
                                     {kind + "_heard", totals.heard[i]},
                                     {kind + "_gaps", totals.told[i]},
                                     {kind + "_refused", totals.refused[i]}});
  }
  figures->insert(figures->end(), {{"coalesced", totals.coalesced},
                                   {"roomy_ordered_heard", totals.roomy_heard},
                                   {"roomy_ordered_gaps", totals.roomy_told},
                                   {"rounds", totals.rounds},
                                   {"rounds_without_deaths", totals.exact_rounds},
                                   {"pairs_exact", totals.exact_pairs},
                                   {"pairs_other", totals.other_pairs},
                                   {"events_of_exact_pairs", totals.exact_events},
                                   {"logs", totals.logs},
                                   {"log_entries", totals.log_entries},
                                   {"events_in_one_order", totals.different_events}});
}

void PrintJson(const Figures& figures) {
  std::string text;
  for (const auto& [name, value] : figures) {
    text += text.empty() ? "{\"" : ", \"";
    text.append(name).append("\": ").append(std::to_string(value));
  }
  std::printf("%s}\n", text.c_str());
}

void PrintTable(const Figures& figures) {
  for (const auto& [name, value] : figures)
    std::printf("%-26s %14" PRIu64 "\n", name.c_str(), value);
}

}  // namespace

void Director::Report() const {
  Figures figures = {{"seed", settings_.seed},
                     {"workers", static_cast<std::uint64_t>(settings_.workers)},
                     {"publishers", static_cast<std::uint64_t>(settings_.publishers)},
                     {"pipe_bytes", settings_.capacity},
                     {"seconds", (ended_ - began_) / 1000000000}};
  Add(deeds_, &figures);
  Add(account_->totals(), &figures);
  std::uint64_t late = 0;
  std::uint64_t withdrawn = 0;
  for (const Place& place : books_->places) {
    late += place.late.Get();
    withdrawn += place.withdrawn.Get();
  }
  figures.insert(figures.end(), {{"late", late}, {"withdrawn", withdrawn}});
  for (int i = 0; i < soak::kViolations; ++i)
    figures.emplace_back(soak::NameOf(static_cast<Violation>(i)), books_->violations[i].Get());
  settings_.json ? PrintJson(figures) : PrintTable(figures);
  if (!settings_.json)
    std::printf("soak-events, seed %" PRIu64 ": %s\n", settings_.seed,
                sound() ? "passed" : "FAILED");
  std::fflush(stdout);
  if (sound()) return;
  std::fprintf(stderr, "soak-events: WRONG, seed %" PRIu64 ":\n%s%s", settings_.seed,
               books_->Complaints().c_str(), missed_.c_str());
}

}  // namespace alertpipe::event_soak
