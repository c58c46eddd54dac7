// SPDX-License-Identifier: Apache-2.0
//
// The figures of a soak, for soak.py and for whoever reads along.
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <string>
#include <string_view>

#include "director.h"

namespace alertpipe::soak {
namespace {

class Json {
 public:
  template <typename Number>
  void Add(std::string_view name, Number value) {
    text_ += text_.empty() ? "{\"" : ", \"";
    text_.append(name).append("\": ").append(std::to_string(value));
  }
  std::string End() const { return text_ + "}"; }

 private:
  std::string text_;
};

void Add(const Deeds& deeds, Json* json) {
  json->Add("kills", deeds.kills);
  json->Add("kills_stopped", deeds.kills_stopped);
  json->Add("kills_nonempty", deeds.kills_nonempty);
  json->Add("kills_half", deeds.kills_half);
  json->Add("kills_either", deeds.kills_either);
  json->Add("drained", deeds.drained);
  json->Add("partials_dropped", deeds.partials);
  json->Add("stops", deeds.stops);
  json->Add("replacements", deeds.replacements);
  json->Add("quiet_points", deeds.quiets);
}

void Add(const Totals& totals, Json* json) {
  json->Add("lived_alerts", totals.lived_alerts);
  json->Add("left_alerts", totals.left_alerts);
  json->Add("died_alerts", totals.died_alerts);
  json->Add("came_back", totals.came_back);
  json->Add("heard_of_died", totals.heard_of_died);
  json->Add("lived_pairs", totals.lived_pairs);
  json->Add("died_pairs", totals.died_pairs);
}

}  // namespace

void Director::Report() const {
  Json json;
  json.Add("capacity", settings_.capacity);
  json.Add("granted", granted_);
  json.Add("uid", getuid());
  json.Add("seed", settings_.seed);
  json.Add("seconds", static_cast<double>(ended_ - began_) / 1e9);
  Add(deeds_, &json);
  Add(account_->totals(), &json);
  std::uint64_t bytes = 0;
  for (const Place& place : ledger_->places) bytes += place.delivered_bytes.Get();
  json.Add("heard", Delivered());
  json.Add("heard_bytes", bytes);
  json.Add("master_heap_growth", own_growth_.heap_growth());
  json.Add("master_rss_growth", own_growth_.rss_growth());
  json.Add("master_rss", own_growth_.most().rss_bytes);
  json.Add("keeper_heap_growth", keeper_growth_.heap_growth());
  json.Add("keeper_rss_growth", keeper_growth_.rss_growth());
  json.Add("keeper_rss", keeper_growth_.most().rss_bytes);
  json.Add("samples", own_growth_.samples());
  json.Add("measures_memory", kMeasuresMemory ? 1 : 0);
  for (int i = 0; i < kViolations; ++i)
    json.Add(NameOf(static_cast<Violation>(i)), ledger_->violations[i].Get());
  std::printf("%s\n", json.End().c_str());
  if (sound()) return;
  std::fprintf(stderr, "soak: violations, seed %" PRIu64 ", pipes of %zu:\n%s", settings_.seed,
               settings_.capacity, ledger_->Complaints().c_str());
}

}  // namespace alertpipe::soak
