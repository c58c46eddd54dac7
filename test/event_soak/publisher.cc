// SPDX-License-Identifier: Apache-2.0
#include "publisher.h"

#include <uv.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "stamp.h"

namespace alertpipe::event_soak {
namespace {

constexpr unsigned kBurstMax = 48;
constexpr unsigned kFew = 3;
constexpr std::uint64_t kFewPublishers = 8;
constexpr std::size_t kBytesMax = 12000;
// Queued for a receiver: from then on it has enough to read.
constexpr std::size_t kEnoughBytes = 8192;

}  // namespace

std::vector<EventRule> Rules() {
  const std::string source(kSource);
  return {{source, NameOf(Kind::kOrdered), true, Overflow::kRefuse},
          {source, NameOf(Kind::kPlain), false, Overflow::kRefuse},
          {source, NameOf(Kind::kGap), false, Overflow::kGap},
          {source, NameOf(Kind::kValue), false, Overflow::kCoalesce}};
}

Publisher::Publisher(Endpoint* endpoint, Events* events, Books* books, std::uint64_t seed)
    : endpoint_(endpoint),
      events_(events),
      books_(books),
      self_(endpoint->self()),
      place_(&books->places[self_.slot]),
      trap_(place_),
      random_(static_cast<unsigned>(seed * 1000003 + self_.generation * 1009 +
                                    static_cast<unsigned>(self_.slot))),
      data_(kBytesMax, '\0') {
  for (char& byte : data_) byte = static_cast<char>(random_());
}

bool Publisher::wanted() const {
  const Mode mode = books_->mode_now();
  return (mode == Mode::kLoad || mode == Mode::kPaced) &&
         static_cast<std::uint64_t>(self_.slot) <= books_->publishers.Get() &&
         place_->published.Get() < books_->share.Get();
}

// Those that are stopped hold nobody up.
bool Publisher::MostAreFull() const {
  const std::vector<Peer> workers = endpoint_->Workers();
  const auto full = std::count_if(workers.begin(), workers.end(), [this](const Peer& peer) {
    return endpoint_->QueuedBytes(peer.slot) >= kEnoughBytes;
  });
  return 2 * static_cast<std::size_t>(full) >= workers.size();
}

bool Publisher::PublishSome() {
  // Now and then it does not care.
  if (MostAreFull() && random_() % 16 != 0) return false;
  for (auto left = 1 + random_() % kBurstMax; left > 0 && wanted(); --left) PublishOne();
  return true;
}

void Publisher::PublishFew() {
  // All together not more than so many would.
  if (random_() % books_->publishers.Get() >= kFewPublishers) return;
  for (unsigned left = kFew; left > 0 && wanted(); --left) PublishOne();
}

Kind Publisher::DrawKind() {
  switch (random_() % 16) {
    case 0:
      return Kind::kPlain;
    case 1:
      return Kind::kGap;
    case 2:
      return Kind::kValue;
    default:
      return Kind::kOrdered;
  }
}

std::size_t Publisher::DrawBytes() {
  const auto draw = random_() % 1000;
  if (draw < 900) return sizeof(Stamp) + random_() % 64;
  if (draw < 998) return sizeof(Stamp) + random_() % 1000;
  return sizeof(Stamp) + random_() % (kBytesMax - sizeof(Stamp));
}

void Publisher::PublishOne() {
  Stamp stamp;
  stamp.kind = DrawKind();
  stamp.number = ++number_;
  stamp.generation = self_.generation;
  stamp.slot = static_cast<std::uint8_t>(self_.slot);
  stamp.round = static_cast<std::uint32_t>(books_->round.Get());
  stamp.time_ns = uv_hrtime();
  stamp.key = static_cast<std::uint8_t>(random_() % kKeys);
  const std::size_t bytes = DrawBytes();
  Seal(stamp, data_.data(), bytes);
  PublishOptions options;
  const std::string key = std::to_string(stamp.key);
  if (stamp.kind == Kind::kValue) options.key = key;

  Published& own = books_->PublishedBy(self_);
  own.key.Set(self_.generation);
  own.tried[static_cast<std::size_t>(stamp.kind)].Add();
  if (stamp.kind == Kind::kOrdered) place_->published.Add();
  const Doing before = place_->Enter(Doing::kPublishing);
  trap_.Enter(Doing::kPublishing);
  const PublishResult result = events_->Publish(Audience::All(), kSource, NameOf(stamp.kind),
                                                std::string_view(data_.data(), bytes), options);
  place_->Enter(before == Doing::kHandling ? before : Doing::kClaiming);
  WriteDown(stamp.kind, result);
  if (stamp.kind == Kind::kOrdered) place_->published_ns.Set(stamp.time_ns);
  if (stamp.kind == Kind::kValue) own.values[stamp.key].Set(stamp.number);
}

void Publisher::WriteDown(Kind kind, const PublishResult& result) {
  const auto at = static_cast<std::size_t>(kind);
  Published& own = books_->PublishedBy(self_);
  for (const Refusal& refusal : result.refused) {
    Refused& pair = books_->RefusedBy(refusal.peer, self_);
    const std::uint64_t key = KeyOf(self_, refusal.peer);
    if (pair.key.Get() != key) pair.key.Set(key);
    (absl::IsResourceExhausted(refusal.status) ? pair.full : pair.otherwise)[at].Add();
  }
  own.accepted[at].Add(result.accepted);
  own.gaps[at].Add(result.gaps);
  own.refused[at].Add(result.refused.size());
  own.done[at].Add();
  if (!result.ok())
    books_->Complain(Violation::kBroken, Name(self_) + ": " + result.status().ToString());
}

}  // namespace alertpipe::event_soak
