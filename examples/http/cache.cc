// SPDX-License-Identifier: Apache-2.0
#include "cache.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace http_example {
namespace {

using alertpipe::Audience;
using alertpipe::Event;
using alertpipe::Peer;

// When there is more, everything is forgotten: simple, and enough for an example.
constexpr std::size_t kKeysMax = 10000;
constexpr std::size_t kBytesMax = 67108864;
// How soon something that found no room is tried again.
constexpr std::uint64_t kAgainMs = 20;

// What an event says: "REVISION KEY", and what was read "REVISION KEY +VALUE", "REVISION KEY -" if
// there is nothing, or "REVISION KEY !WHY" if that failed.
std::string Compose(std::uint64_t revision, const std::string& key) {
  return std::to_string(revision) + " " + key;
}

std::string Compose(const std::string& key, const Origin::Reading& reading) {
  const std::string head = Compose(reading.revision, key);
  if (!reading.status.ok()) return head + " !" + std::string(reading.status.message());
  return reading.value.has_value() ? head + " +" + *reading.value : head + " -";
}

bool Parse(std::string_view text, std::string* key, Origin::Reading* reading) {
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, reading->revision);
  if (error != std::errc() || rest == end || *rest != ' ') return false;
  text.remove_prefix(static_cast<std::size_t>(rest + 1 - text.data()));
  const std::size_t space = std::min(text.find(' '), text.size());
  *key = text.substr(0, space);
  text.remove_prefix(space);
  if (text.substr(0, 2) == " +") reading->value = text.substr(2);
  if (text.substr(0, 2) == " !") reading->status = absl::InternalError(std::string(text.substr(2)));
  return Origin::IsKey(*key);
}

absl::Status TooLate(const std::string& what) { return absl::DeadlineExceededError(what); }

std::string Pids(const std::vector<Peer>& peers) {
  std::string pids;
  for (const Peer& peer : peers) pids += " " + std::to_string(peer.pid);
  return pids;
}

}  // namespace

// A Put that is written, and not yet known to all.
struct Cache::Change {
  std::string news;
  std::vector<Peer> untold;
  absl::Time deadline;
  PutDone done;
};

alertpipe::EventSettings Cache::Settings(const Options& options) {
  alertpipe::EventSettings settings;
  // Whoever has waited that long does not count on the one that was chosen any more.
  settings.unique_timeout = absl::Milliseconds(options.fetch_ms);
  return settings;
}

// A worker that does not keep up has to know that it has missed something.
alertpipe::EventsOptions Cache::Rules() {
  alertpipe::EventsOptions options;
  alertpipe::EventRule rule;
  rule.source = CacheEvents::kInvalid.source;
  rule.name = CacheEvents::kInvalid.name;
  rule.overflow = alertpipe::Overflow::kGap;
  options.rules.push_back(rule);
  return options;
}

Cache::Cache(uv_loop_t* loop, alertpipe::Worker* worker, std::unique_ptr<alertpipe::Events> events,
             Origin* origin, const Options& options)
    : worker_(worker),
      origin_(origin),
      events_(std::move(events)),
      origin_ms_(options.origin_ms),
      fetch_ms_(options.fetch_ms),
      reply_ms_(options.reply_ms),
      later_(loop),
      floor_(origin->Mark()) {
  (void)events_->Subscribe(CacheEvents::kFetch, [this](const Event& event) {
    if (const std::string key(event.data); Origin::IsKey(key)) Read(key);
  });
  (void)events_->Subscribe(CacheEvents::kValue, [this](const Event& event) {
    std::string key;
    if (Origin::Reading reading; Parse(event.data, &key, &reading)) OnValue(key, reading);
  });
  (void)events_->Subscribe(CacheEvents::kInvalid, [this](const Event& event) {
    std::string key;
    if (Origin::Reading none; Parse(event.data, &key, &none)) OnInvalid(key, none.revision);
  });
  (void)events_->Subscribe(alertpipe::kOwnEventSource, alertpipe::kLeftEvent,
                           [this](const Event&) { Drop(); });
  events_->OnGap([this](const alertpipe::Gap&) { Drop(); });
  events_->Ready();
}

// ---- Get ----

void Cache::Get(const std::string& key, GetDone done) {
  events_->Poll();
  const auto entry = entries_.find(key);
  if (entry != entries_.end() && entry->second.here) {
    ++counts_.hits;
    return done({absl::OkStatus(), entry->second.value, true});
  }
  ++counts_.misses;
  Wait& wait = waits_[key];
  wait.done.push_back(std::move(done));
  if (wait.done.size() > 1) return;
  wait.number = ++last_wait_;
  Ask(key);
  Watch(key, wait.number, 0);
}

void Cache::Ask(const std::string& key) {
  if (leaving_) return Read(key);
  const std::string once = key + '@' + std::to_string(origin_->revision());
  if (!events_->Publish(Audience::Unique(once), CacheEvents::kFetch, key).ok()) Read(key);
}

void Cache::Watch(const std::string& key, std::uint64_t number, std::uint64_t waited_ms) {
  const std::uint64_t ms = std::min(fetch_ms_, reply_ms_ - waited_ms);
  later_.After(ms, [=] {
    const auto wait = waits_.find(key);
    if (wait == waits_.end() || wait->second.number != number) return;
    if (waited_ms + ms >= reply_ms_)
      return Answer(key, {TooLate("nobody has brought the value in time"), {}, false});
    Read(key);
    Watch(key, number, waited_ms + ms);
  });
}

void Cache::Read(const std::string& key) {
  auto reading = std::make_shared<Origin::Reading>(origin_->Read(key));
  ++counts_.reading;
  // It is slow, as an origin that is worth a cache would be.
  later_.After(origin_ms_, [=] {
    --counts_.reading;
    events_->Publish(Audience::Others(), CacheEvents::kValue, Compose(key, *reading));
    OnValue(key, *reading);
  });
}

void Cache::Answer(const std::string& key, const Found& found) {
  const auto wait = waits_.find(key);
  if (wait == waits_.end()) return;
  const std::vector<GetDone> done = std::move(wait->second.done);
  waits_.erase(wait);
  for (const GetDone& one : done) one(found);
}

// ---- Events ----

void Cache::OnValue(const std::string& key, const Origin::Reading& reading) {
  const auto entry = entries_.find(key);
  if (reading.revision < (entry != entries_.end() ? entry->second.revision : floor_)) return;
  if (reading.status.ok()) Set(key, {reading.revision, true, reading.value});
  Answer(key, {reading.status, reading.value, false});
}

void Cache::OnInvalid(const std::string& key, std::uint64_t revision) {
  const auto entry = entries_.find(key);
  if (revision <= (entry != entries_.end() ? entry->second.revision : floor_)) return;
  Set(key, {revision, false, {}});
  // What is being read for them may be too old.
  if (waits_.count(key) > 0) Ask(key);
}

void Cache::Set(const std::string& key, Entry entry) {
  const std::size_t bytes = entry.value.has_value() ? entry.value->size() : 0;
  if (entries_.size() >= kKeysMax || bytes_ + bytes > kBytesMax) return Drop();
  Entry& old = entries_[key];
  if (old.value.has_value()) bytes_ -= old.value->size();
  bytes_ += bytes;
  old = std::move(entry);
}

// Forgets everything, and turns away what was read before now.
void Cache::Drop() {
  ++counts_.drops;
  entries_.clear();
  bytes_ = 0;
  floor_ = origin_->Mark();
  for (const auto& [key, wait] : waits_) Ask(key);
}

// ---- Put ----

void Cache::Put(const std::string& key, const Value& value, PutDone done) {
  const absl::StatusOr<std::uint64_t> revision = origin_->Write(key, value);
  if (!revision.ok()) return done(revision.status());
  OnInvalid(key, *revision);
  auto change = std::make_shared<Change>();
  change->news = Compose(*revision, key);
  change->untold = worker_->Workers();
  change->deadline = absl::Now() + absl::Milliseconds(reply_ms_);
  change->done = std::move(done);
  Tell(change);
}

// Each of them, one by one: publications to all leave out those that are being replaced.
void Cache::Tell(const std::shared_ptr<Change>& change) {
  const std::vector<Peer> living = worker_->Workers();
  const auto told = [&](const Peer& peer) {
    if (peer == worker_->self()) return true;
    if (std::find(living.begin(), living.end(), peer) == living.end()) return true;
    return events_->Publish(Audience::One(peer), CacheEvents::kInvalid, change->news).accepted > 0;
  };
  std::vector<Peer>& untold = change->untold;
  untold.erase(std::remove_if(untold.begin(), untold.end(), told), untold.end());
  if (untold.empty() && Confirm(change)) return;
  if (absl::Now() < change->deadline) {
    later_.After(kAgainMs, [=] { Tell(change); });
  } else {
    change->done(TooLate(untold.empty()
                             ? "written, but too many barriers are open to ask for another"
                             : "written, but not all have heard of it:" + Pids(untold)));
  }
}

// False if there are too many barriers already.
bool Cache::Confirm(const std::shared_ptr<Change>& change) {
  const absl::Duration left = std::max(change->deadline - absl::Now(), absl::Milliseconds(1));
  return worker_
      ->Barrier(left,
                [change](const alertpipe::BarrierReport& report) {
                  if (report.status.ok()) return change->done(absl::OkStatus());
                  change->done(TooLate("written, but not all have said that they know of it:" +
                                       Pids(report.missing)));
                })
      .ok();
}

// ---- End ----

Cache::Counts Cache::counts() const {
  Counts counts = counts_;
  counts.origin_reads = origin_->reads();
  for (const auto& [key, entry] : entries_) counts.keys += entry.here ? 1 : 0;
  return counts;
}

void Cache::Leave() {
  leaving_ = true;
  for (const auto& [key, wait] : waits_) Read(key);
}

void Cache::Close() { later_.Close(); }

}  // namespace http_example
