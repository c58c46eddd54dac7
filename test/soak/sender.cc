// SPDX-License-Identifier: Apache-2.0
#include "sender.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace alertpipe::soak {
namespace {

constexpr std::size_t kMaterialBytes = 2 << 20;
constexpr int kPackedBurst = 256;
// In mixed load nobody gets more than this ahead of a receiver, so that what the dead leave
// behind is handled quickly and kills come at all stages.
constexpr std::size_t kBacklogMax = 200000;
constexpr int kReceiversPerTurn = 2;
// For all receivers together, where pipes are to be full only now and then.
constexpr std::size_t kLittleBacklogMax = 150000;

std::string Name(const Peer& from, const Peer& to) {
  return std::to_string(from.slot) + "." + std::to_string(from.generation) + " to " +
         std::to_string(to.slot) + "." + std::to_string(to.generation);
}

}  // namespace

Material::Material(std::size_t capacity, std::uint64_t seed)
    : capacity_(capacity), bytes_(kMaterialBytes, '\0') {
  std::mt19937_64 random(seed);
  for (std::size_t at = 0; at + 8 <= bytes_.size(); at += 8) {
    const std::uint64_t word = random();
    std::memcpy(&bytes_[at], &word, sizeof word);
  }
}

Sender::Sender(Endpoint* endpoint, Ledger* ledger, Material* material, std::uint64_t seed)
    : endpoint_(endpoint),
      ledger_(ledger),
      material_(material),
      self_(endpoint->self()),
      random_(static_cast<unsigned>(seed * 7919 + self_.generation * 64 +
                                    static_cast<unsigned>(self_.slot))) {}

void Sender::Refresh() {
  peers_ = endpoint_->Workers();
  if (!self_.is_master()) peers_.push_back(endpoint_->master());
}

Sender::Line& Sender::LineOf(const Peer& peer) {
  Line& line = lines_[peer.slot];
  if (line.generation != peer.generation) line = {peer.generation, false};
  return line;
}

Sent& Sender::HalfFor(const Peer& peer) {
  Sent& half = ledger_->SentBy(self_, peer);
  const std::uint64_t key = KeyOf(self_.generation, peer.generation);
  if (half.key.Get() != key) {
    const std::uint64_t found = half.key.Get();
    if (found == (key | kClosed)) {
      ledger_->Complain(Violation::kInvented, Name(self_, peer) +
                                                  ": came back, or was sent, when "
                                                  "the account was settled");
    } else if (found != 0 && (found & kClosed) == 0) {
      ledger_->Complain(Violation::kBroken, Name(self_, peer) + ": the ring is too small");
    }
    for (Word* word : {&half.attempted, &half.accepted, &half.written, &half.failed,
                       &half.failed_first, &half.failed_last})
      word->Set(0);
    half.key.Set(key);
  }
  return half;
}

// ---- Load ----

bool Sender::Feed(Mode mode) {
  if (mode == Mode::kPause || peers_.empty() || closed_) return false;
  bool more = false;
  const std::size_t receivers = mode == Mode::kPacked ? peers_.size() : kReceiversPerTurn;
  for (std::size_t i = 0; i < receivers; ++i) {
    turn_ += mode == Mode::kPacked ? 1 : 1 + random_() % peers_.size();
    const Peer peer = peers_[turn_ % peers_.size()];
    if (!LineOf(peer).full) more = Load(peer, mode) || more;
  }
  if (more || mode == Mode::kPacked) return more;
  // The others may have room.
  return std::any_of(peers_.begin(), peers_.end(), [this](const Peer& peer) {
    return !LineOf(peer).full && endpoint_->QueuedBytes(peer.slot) < kBacklogMax;
  });
}

void Sender::FeedLittle() {
  if (peers_.empty() || closed_ || endpoint_->QueuedBytes() >= kLittleBacklogMax) return;
  const Peer peer = peers_[random_() % peers_.size()];
  if (!LineOf(peer).full) LoadMixed(peer);
}

bool Sender::Load(const Peer& peer, Mode mode) {
  if (mode != Mode::kPacked) return LoadMixed(peer);
  for (int i = 0; i < kPackedBurst; ++i) {
    if (!SendSmall(peer)) return false;
  }
  return true;
}

bool Sender::LoadMixed(const Peer& peer) {
  if (endpoint_->QueuedBytes(peer.slot) >= kBacklogMax) return false;
  std::size_t burst = 1;
  const std::size_t bytes = DrawBytes(&burst);
  for (std::size_t i = 0; i < burst; ++i) {
    if (bytes <= sizeof(Stamp) ? !SendSmall(peer) : !SendBytes(peer, bytes)) return false;
  }
  return true;
}

// Sizes of alerts: mostly small ones that share packets, the borders of one and two packets,
// several packets, and some that do not fit into a pipe of that capacity, or nearly so.
std::size_t Sender::DrawBytes(std::size_t* burst) {
  const unsigned draw = static_cast<unsigned>(random_() % 100);
  if (draw < 50) {
    *burst = 1 + random_() % 60;
    return sizeof(Stamp);
  }
  if (draw < 65) {
    *burst = 1 + random_() % 8;
    return sizeof(Stamp) + random_() % 1000;
  }
  if (draw < 80) return 4096 * (1 + random_() % 2) - 120 + random_() % 150;
  if (draw < 92) return 4096 + random_() % 30000;
  if (draw < 99) return 60000 + random_() % 80000;
  return std::min(material_->bytes_max(), material_->capacity() + random_() % 200000);
}

bool Sender::SendSmall(const Peer& peer) {
  char data[sizeof(Stamp)];
  return SendOne(peer, StampKind::kLoad, data, sizeof data, false);
}

bool Sender::SendBytes(const Peer& peer, std::size_t bytes) {
  const bool owned = random_() % 3 == 0 || bytes > 300000;
  return SendOne(peer, StampKind::kLoad, material_->Cut(bytes, random_()), bytes, owned);
}

bool Sender::SendQuiet(const Peer& peer, std::uint64_t quiet) {
  char data[sizeof(Stamp) + sizeof quiet];
  std::memcpy(data + sizeof(Stamp), &quiet, sizeof quiet);
  return SendOne(peer, StampKind::kQuiet, data, sizeof data, false);
}

// False when it was refused.
bool Sender::SendOne(const Peer& peer, StampKind kind, char* data, std::size_t bytes, bool owned) {
  Sent& half = HalfFor(peer);
  const std::uint64_t number = half.accepted.Get() + 1;
  half.attempted.Set(number);
  Stamp stamp;
  stamp.number = static_cast<std::uint32_t>(number);
  stamp.from_slot = static_cast<std::uint8_t>(self_.slot);
  stamp.from_generation = self_.generation;
  stamp.to_slot = static_cast<std::uint8_t>(peer.slot);
  stamp.to_generation = peer.generation;
  stamp.kind = kind;
  Seal(stamp, data, bytes);
  const SendResult sent = Call(peer, data, bytes, owned);
  if (sent.ok()) {
    half.accepted.Set(number);
    if (sent.outcome() == Outcome::kWritten) half.written.Set(number);
    ++accepted_;
    if (sent.alert_id() != number)
      ledger_->Complain(Violation::kBroken, Name(self_, peer) + ": alert ids do not count");
    return true;
  }
  half.attempted.Set(number - 1);
  NoteRefusal(peer, sent.status());
  return false;
}

// A pid is forgotten when its slot has a new worker.
void Sender::NoteRefusal(const Peer& peer, const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
      LineOf(peer).full = true;
      return;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kNotFound:
      return;
    case absl::StatusCode::kFailedPrecondition:
      closed_ = leaving_;
      if (leaving_) return;
      break;
    default:
      break;
  }
  ledger_->Complain(Violation::kBroken, Name(self_, peer) + ": " + status.ToString());
}

SendResult Sender::Call(const Peer& peer, char* data, std::size_t bytes, bool owned) {
  // Both mean exactly that incarnation, but a worker that is being replaced takes no new alerts by
  // its pid.
  const To to = peer.pid != 0 && random_() % 2 == 0 ? To::Pid(peer.pid) : To(peer);
  if (!owned) return endpoint_->Send(to, "soak", std::string_view(data, bytes));
  absl::StatusOr<Buffer> buffer = Buffer::Copy(std::string_view(data, bytes));
  if (!buffer.ok()) return buffer.status();
  return endpoint_->Send(to, "soak", *std::move(buffer));
}

// ---- What comes of it ----

void Sender::Drained(const Peer& peer) {
  Line& line = lines_[peer.slot];
  if (line.generation == peer.generation) line.full = false;
}

void Sender::CameBack(const Undelivered& undelivered) {
  if (std::exchange(forget_, false)) return;
  const Peer& peer = undelivered.peer;
  ++failed_;
  if (undelivered.reason != UndeliveredReason::kPeerDied) {
    ledger_->Complain(Violation::kBroken,
                      Name(self_, peer) + ": " + std::string(ToString(undelivered.reason)));
  }
  Stamp stamp;
  if (undelivered.has_data && (!Unseal(undelivered.data, &stamp) || !stamp.from(self_) ||
                               !stamp.to(peer) || stamp.number != undelivered.alert_id)) {
    ledger_->Complain(Violation::kTorn,
                      Name(self_, peer) + ": what came back is not what was sent");
  }
  Sent& half = HalfFor(peer);
  const std::uint64_t id = undelivered.alert_id;
  if (half.failed.Get() == 0) {
    half.failed_first.Set(id);
  } else if (id <= half.failed_last.Get()) {
    ledger_->Complain(Violation::kDuplicated, Name(self_, peer) + ": came back twice, or late");
  }
  // Killed between the two, it has counted one whose number is not known, and not the other way
  // round: that would look like a hole.
  half.failed.Add();
  half.failed_last.Set(id);
}

void Sender::CheckCounters(std::uint64_t handled) {
  const Stats stats = endpoint_->stats();
  if (stats.alerts_accepted != stats.alerts_written + stats.alerts_undelivered) {
    ledger_->Complain(Violation::kLost,
                      Name(self_, self_) + ": accepted " + std::to_string(stats.alerts_accepted) +
                          ", written " + std::to_string(stats.alerts_written) + ", undelivered " +
                          std::to_string(stats.alerts_undelivered));
  }
  if (stats.alerts_undelivered > failed_) {
    ledger_->Complain(Violation::kLost, Name(self_, self_) + ": came back, and nobody was told",
                      stats.alerts_undelivered - failed_);
  }
  if (stats.alerts_accepted != accepted_ || stats.alerts_undelivered < failed_ ||
      stats.alerts_delivered != handled || stats.alerts_unhandled != 0) {
    ledger_->Complain(Violation::kBroken, Name(self_, self_) + ": the library counts otherwise");
  }
  Refresh();
  for (const Peer& peer : peers_) {
    if (LineOf(peer).full)
      ledger_->Complain(Violation::kHung, Name(self_, peer) + ": nobody said that it has drained");
  }
}

}  // namespace alertpipe::soak
