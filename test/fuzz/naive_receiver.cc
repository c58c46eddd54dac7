// SPDX-License-Identifier: Apache-2.0
#include "naive_receiver.h"

#include <algorithm>
#include <utility>

#include "fuzz.h"

namespace alertpipe::fuzz {
namespace {

constexpr std::size_t kReturnsMax = 4096;

std::string Shortened(const std::string& text) {
  static const char* const kDigits = "0123456789abcdef";
  std::string shown;
  for (const char byte : text.substr(0, 12)) {
    shown.push_back(kDigits[static_cast<unsigned char>(byte) / 16]);
    shown.push_back(kDigits[static_cast<unsigned char>(byte) % 16]);
  }
  return std::to_string(text.size()) + " bytes " + shown;
}

}  // namespace

bool operator==(const NaiveArrival& a, const NaiveArrival& b) {
  return a.kind == b.kind && a.slot == b.slot && a.generation == b.generation && a.pid == b.pid &&
         a.name == b.name && a.data == b.data && a.response == b.response &&
         a.request_id == b.request_id && a.alert_id == b.alert_id && a.damage == b.damage &&
         a.damage_bytes == b.damage_bytes && a.record == b.record;
}

std::string ToText(const NaiveArrival& arrival) {
  static const char* const kKinds[] = {"alert",   "response", "late response",
                                       "control", "reject",   "damage"};
  const auto number = [](auto value) { return std::to_string(value); };
  return std::string(kKinds[static_cast<int>(arrival.kind)]) + " from " + number(arrival.slot) +
         "." + number(arrival.generation) + " pid " + number(arrival.pid) + ", name " +
         Shortened(arrival.name) + ", data " + Shortened(arrival.data) + ", request " +
         number(arrival.request_id) + (arrival.response ? " response" : "") + ", alert " +
         number(arrival.alert_id) + ", damage " + number(arrival.damage) + " of " +
         number(arrival.damage_bytes) + ", record " + number(arrival.record);
}

bool NaiveReceiver::Is(Defect defect) const { return planted == defect; }

std::uint64_t NaiveReceiver::held() const {
  std::uint64_t held = 0;
  for (const auto& [slot, stream] : streams_) {
    if (stream.state != State::kParts) continue;
    held += Is(kChargesClaims) ? stream.total : stream.alert.data.size();
  }
  return held;
}

NaiveReceiver::ReturnsTo NaiveReceiver::Returns(int slot) {
  const NaiveSlot& word = roster_[static_cast<std::size_t>(slot)];
  const ReturnsTo& returns = returns_[slot];
  return word.lives() && word.generation == returns.generation ? returns : ReturnsTo();
}

NaiveReceiver::ReturnsTo* NaiveReceiver::ReturnsFor(int slot, std::uint32_t generation) {
  ReturnsTo& returns = returns_[slot];
  if (generation < returns.generation) return nullptr;
  if (generation > returns.generation) returns = {generation, {}, {}, {}};
  return &returns;
}

// ---- Framing

std::vector<NaiveArrival> NaiveReceiver::Read(std::string_view bytes, bool less) {
  arrivals_.clear();
  pending_ += bytes;
  // Less than was asked for: the pipe was empty, so what is written next starts with a packet.
  if (bytes.empty() && less) lost_ = false;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    NaiveHeader header;
    const Looks looks = lost_ ? Looks::kWrong : ReadHeader(rest, &header);
    if (looks == Looks::kShort && !less) break;
    if (looks != Looks::kPacket) {
      rest.remove_prefix(LoseFraming(rest, less));
      continue;
    }
    ++counters_["packets_read"];
    Packet(header, rest.substr(32, header.length - 32));
    rest.remove_prefix(header.length);
  }
  pending_ = std::string(rest);
  LookAgain(less);
  return std::move(arrivals_);
}

// Notices may be gone with the framing. What the roster said then holds once the pipe has been
// found empty after that.
void NaiveReceiver::LookAgain(bool less) {
  if (!lost_then_.empty() && less) {
    for (std::size_t slot = 1; slot < lost_then_.size(); ++slot) {
      const NaiveSlot& word = lost_then_[slot];
      if (word.state == NaiveSlot::kDown) Bury(static_cast<int>(slot), word.generation);
      if (word.lives() && word.generation > 1) Bury(static_cast<int>(slot), word.generation - 1);
    }
    if (lost_then_[1].state == NaiveSlot::kDraining) told_to_drain_ = true;
    lost_then_.clear();
  }
  if (lost_now_) lost_then_ = roster_;
  lost_now_ = false;
}

// Returns how many bytes are gone.
std::size_t NaiveReceiver::LoseFraming(std::string_view bytes, bool less) {
  std::size_t end = bytes.size();
  if (Is(kGuessesPackets)) end = std::min(end, bytes.find("\x7e\xa1", 1));
  ++counters_["damaged_framing"];
  counters_["damaged_bytes"] += end;
  Damage(0, end, -1);
  for (std::size_t slot = 0; slot < roster_.size(); ++slot)
    streams_[static_cast<int>(slot)].after_loss = true;
  lost_ = !less;
  lost_now_ = true;
  return end;
}

void NaiveReceiver::Damage(int kind, std::uint64_t bytes, int slot) {
  NaiveArrival arrival;
  arrival.kind = NaiveArrival::Kind::kDamage;
  arrival.damage = kind;
  arrival.damage_bytes = bytes;
  arrival.slot = slot;
  arrivals_.push_back(arrival);
}

// ---- Packets

void NaiveReceiver::Packet(const NaiveHeader& header, std::string_view body) {
  const bool known = header.lane == 0 && header.source_generation != 0 &&
                     header.source_slot < static_cast<int>(roster_.size());
  if (known && header.destination_generation < self_generation_) return CountStale(body);
  if (!known || PacketIsWrong(header)) {
    ++counters_["damaged_packets"];
    return Damage(1, header.length, header.source_slot);
  }
  Follow(header);
  while (!IsPadding(body)) {
    NaiveRecord record;
    if (!ReadRecord(body, &record) || !TakeRecord(header, record)) {
      ++counters_["damaged_records"];
      return Damage(2, body.size(), header.source_slot);
    }
    body.remove_prefix(record.size);
  }
}

// Only alerts that end here: of others the sender still holds a part.
void NaiveReceiver::CountStale(std::string_view body) {
  NaiveRecord record;
  while (!body.empty() && ReadRecord(body, &record)) {
    if (record.kind == 1 || record.kind == 4) ++counters_["alerts_stale"];
    body.remove_prefix(record.size);
  }
}

bool NaiveReceiver::PacketIsWrong(const NaiveHeader& header) {
  const Stream& stream = streams_[header.source_slot];
  const NaiveSlot& word = roster_[static_cast<std::size_t>(header.source_slot)];
  if (header.destination_generation > self_generation_) return true;
  if (header.source_generation > word.generation) return true;
  if (header.source_generation < stream.generation) return true;
  return header.source_generation <= stream.dead;
}

void NaiveReceiver::Drop(Stream* stream) {
  stream->state = State::kNothing;
  stream->alert = NaiveArrival();
}

void NaiveReceiver::Follow(const NaiveHeader& header) {
  Stream& stream = streams_[header.source_slot];
  if (header.source_generation > stream.generation) {
    if (stream.state == State::kParts) ++counters_["partials_dropped"];
    const std::uint32_t dead = stream.dead;
    stream = Stream();
    stream.dead = dead;
    stream.generation = header.source_generation;
  }
  if (header.sequence == stream.expected) return;
  if (header.sequence > stream.expected) {
    counters_["lost_alerts"] += header.sequence - stream.expected;
  } else {
    ++counters_["damaged_packets"];
  }
  if (stream.state == State::kParts) ++counters_["lost_alerts"];
  Drop(&stream);
  stream.expected = header.sequence;
}

// ---- Alerts

bool NaiveReceiver::TakeRecord(const NaiveHeader& header, const NaiveRecord& record) {
  if (record.control()) {
    Control(header, record);
    return true;
  }
  return record.starts() ? Start(header, record) : Part(header, record);
}

bool NaiveReceiver::Start(const NaiveHeader& header, const NaiveRecord& record) {
  Stream& stream = streams_[header.source_slot];
  if (record.response && !record.has_request_id) return false;
  if (stream.state != State::kNothing) {
    if (!stream.after_loss) return false;
    if (stream.state == State::kParts) ++counters_["lost_alerts"];
    Drop(&stream);
  }
  stream.after_loss = false;
  if (record.kind == 2 &&
      (record.total <= record.data.size() || record.total > limits_.alert_bytes))
    return false;
  stream.alert = NaiveArrival();
  stream.alert.slot = header.source_slot;
  stream.alert.generation = header.source_generation;
  stream.alert.pid = header.source_pid;
  stream.alert.name = record.name;
  stream.alert.response = record.response;
  stream.alert.request_id = record.request_id;
  stream.alert.alert_id = stream.expected;
  ++stream.expected;
  if (record.kind == 1) {
    stream.alert.data = record.data;
    Alert(std::exchange(stream.alert, NaiveArrival()));
    return true;
  }
  stream.state = State::kParts;
  stream.total = record.total;
  Keep(&stream, record);
  return true;
}

bool NaiveReceiver::Part(const NaiveHeader& header, const NaiveRecord& record) {
  Stream& stream = streams_[header.source_slot];
  const bool last = record.kind == 4;
  if (!record.name.empty()) return false;
  if (stream.state == State::kNothing) {
    if (Is(kOrphanHarmsOthers)) {
      for (auto& [slot, other] : streams_) Drop(&other);
    }
    return stream.after_loss;
  }
  if (stream.state == State::kSkipping) {
    if (last) stream.state = State::kNothing;
    return true;
  }
  const std::uint64_t size = stream.alert.data.size() + record.data.size();
  const bool fits = last ? size == stream.total : size < stream.total;
  if (!fits && !Is(kTrustsTotal)) {
    ++counters_["lost_alerts"];
    Drop(&stream);
    return false;
  }
  stream.alert.pid = header.source_pid;
  Keep(&stream, record);
  if (!last || stream.state != State::kParts) return true;
  stream.state = State::kNothing;
  Alert(std::exchange(stream.alert, NaiveArrival()));
  return true;
}

void NaiveReceiver::Keep(Stream* stream, const NaiveRecord& record) {
  if (held() + (Is(kChargesClaims) ? 0 : record.data.size()) <= limits_.reassembly_bytes) {
    stream->alert.data += record.data;
    return;
  }
  NaiveArrival reject = stream->alert;
  Drop(stream);
  if (record.kind != 4) stream->state = State::kSkipping;
  ++counters_["alerts_rejected"];
  reject.kind = NaiveArrival::Kind::kReject;
  reject.data.clear();
  // The response is lost here.
  if (reject.response) End(reject.request_id, reject.slot, reject.generation);
  if (ReturnsTo* returns = ReturnsFor(reject.slot, reject.generation)) {
    if (returns->rejects.size() < kReturnsMax) {
      returns->rejects.push_back(reject.alert_id);
    } else {
      ++counters_["rejects_dropped"];
    }
  }
  arrivals_.push_back(std::move(reject));
}

void NaiveReceiver::Alert(NaiveArrival alert) {
  alert.alert_id = 0;
  if (alert.response) {
    const auto request = requests_.find(alert.request_id);
    const bool good = request != requests_.end() && request->second.slot == alert.slot &&
                      request->second.generation == alert.generation;
    alert.kind = good ? NaiveArrival::Kind::kResponse : NaiveArrival::Kind::kLateResponse;
    ++counters_[good ? "responses_received" : "responses_late"];
    if (good) requests_.erase(request);
  }
  arrivals_.push_back(std::move(alert));
}

// ---- Control

void NaiveReceiver::Control(const NaiveHeader& header, const NaiveRecord& record) {
  ++counters_["control_read"];
  if (ControlIsGood(header, record)) {
    NaiveArrival arrival;
    arrival.kind = NaiveArrival::Kind::kControl;
    arrival.slot = header.source_slot;
    arrival.generation = header.source_generation;
    arrival.pid = header.source_pid;
    arrival.record = record.kind;
    arrivals_.push_back(arrival);
    return;
  }
  ++counters_["damaged_records"];
  Damage(2, 0, header.source_slot);
}

bool NaiveReceiver::ControlIsGood(const NaiveHeader& header, const NaiveRecord& record) {
  if (record.kind == 16) return Rejected(header, record);
  if (record.kind == 17) return header.source_slot == 0 && Joined(record.data);
  if (record.kind == 18) return header.source_slot == 0 && Died(record.data);
  if (record.kind == 19) return Draining(header, record.data);
  if (record.kind == 20) return AskedBy(header, record.data);
  if (record.kind == 21) return Acknowledged(header, record.data);
  if (record.kind == 22) return Unhandled(header, record.data);
  return false;
}

bool NaiveReceiver::Died(std::string_view body) {
  if (body.size() != 6) return false;
  const std::uint64_t slot = NumberAt(body, 0, 2);
  const auto generation = static_cast<std::uint32_t>(NumberAt(body, 2, 4));
  if (slot == 0 || slot >= roster_.size()) return false;
  const NaiveSlot& word = roster_[slot];
  if (!word.IsDead(generation)) return false;
  Bury(static_cast<int>(slot), generation);
  return true;
}

void NaiveReceiver::Bury(int slot, std::uint32_t generation) {
  Stream& stream = streams_[slot];
  if (stream.generation <= generation && !Is(kKeepsPartsOfTheDead)) {
    if (stream.state == State::kParts) ++counters_["partials_dropped"];
    Drop(&stream);
  }
  stream.dead = std::max(stream.dead, generation);
  std::vector<std::uint64_t> ending;
  for (const auto& [id, request] : requests_) {
    if (request.slot == slot && request.generation <= generation) ending.push_back(id);
  }
  for (const std::uint64_t id : ending) {
    requests_.erase(id);
    ended_.push_back(id);
  }
  for (Barrier& barrier : open_barriers_) {
    const auto at = barrier.waiting.find(slot);
    if (at == barrier.waiting.end() || at->second > generation) continue;
    barrier.waiting.erase(at);
    barrier.died.push_back(slot);
  }
  SettleBarriers();
}

bool NaiveReceiver::Joined(std::string_view body) {
  if (body.size() != 10) return false;
  const std::uint64_t slot = NumberAt(body, 0, 2);
  const std::uint64_t generation = NumberAt(body, 2, 4);
  if (slot == 0 || slot >= roster_.size()) return false;
  const NaiveSlot& word = roster_[slot];
  if (word.IsDead(generation)) return true;
  return generation == word.generation && NumberAt(body, 6, 4) == word.pid;
}

bool NaiveReceiver::Rejected(const NaiveHeader& header, const NaiveRecord& record) {
  if (record.data.size() != 17) return false;
  const std::uint64_t alert = NumberAt(record.data, 0, 8);
  const std::uint64_t request = NumberAt(record.data, 8, 8);
  const std::uint64_t reason = NumberAt(record.data, 16, 1);
  Sender& sender = sent_[header.source_slot];
  if (header.source_generation < sender.generation) return true;
  if (header.source_generation != sender.generation) return false;
  if (alert <= sender.rejected || alert > sender.last) return false;
  if (reason != 1 && reason != 2) return false;  // full, or out of memory
  sender.rejected = alert;
  if (request == 0) {
    undelivered_.push_back(alert);
    return true;
  }
  const auto asked = requests_.find(request);
  if (asked != requests_.end() && asked->second.alert_id == alert)
    End(request, header.source_slot, header.source_generation);
  return true;
}

bool NaiveReceiver::Unhandled(const NaiveHeader& header, std::string_view body) {
  if (body.empty() || body.size() % 8 != 0) return false;
  for (std::size_t at = 0; at < body.size(); at += 8)
    End(NumberAt(body, at, 8), header.source_slot, header.source_generation);
  return true;
}

// ---- Barriers

void NaiveReceiver::AskedBarrier(std::uint64_t id, bool left) {
  Barrier barrier;
  barrier.id = last_barrier_ = id;
  for (const auto& [slot, sender] : sent_) {
    barrier.waiting[slot] = sender.generation;
    ReturnsTo* returns = ReturnsFor(slot, sender.generation);
    if (!left) returns->barriers.push_back(id);
  }
  open_barriers_.push_back(barrier);
}

void NaiveReceiver::SettleBarriers() {
  std::vector<Barrier> open;
  for (Barrier& barrier : open_barriers_) {
    if (barrier.waiting.empty()) {
      barriers_.push_back({barrier.id, barrier.died});
    } else {
      open.push_back(barrier);
    }
  }
  open_barriers_ = open;
}

// What had been accepted for the asker has left, so it is acknowledged at once.
bool NaiveReceiver::AskedBy(const NaiveHeader& header, std::string_view body) {
  if (body.size() != 8 || NumberAt(body, 0, 8) == 0) return false;
  const NaiveSlot& word = roster_[static_cast<std::size_t>(header.source_slot)];
  if (word.generation != header.source_generation || !word.lives()) return true;
  Sender& sender = sent_[header.source_slot];
  if (sender.generation != word.generation) sender = {word.generation, 0, 0};
  ReturnsTo* returns = ReturnsFor(header.source_slot, header.source_generation);
  if (returns == nullptr) return true;
  // More than anybody can have open are merged.
  if (returns->acknowledgements.size() == 64) returns->acknowledgements.pop_back();
  returns->acknowledgements.push_back(NumberAt(body, 0, 8));
  return true;
}

bool NaiveReceiver::Acknowledged(const NaiveHeader& header, std::string_view body) {
  if (body.size() != 8) return false;
  const std::uint64_t id = NumberAt(body, 0, 8);
  if (id == 0 || id > last_barrier_) return false;
  for (Barrier& barrier : open_barriers_) {
    const auto at = barrier.waiting.find(header.source_slot);
    if (barrier.id > id || at == barrier.waiting.end()) continue;
    if (at->second == header.source_generation) barrier.waiting.erase(at);
  }
  SettleBarriers();
  return true;
}

bool NaiveReceiver::Draining(const NaiveHeader& header, std::string_view body) {
  if (body.size() != 8) return false;
  const std::uint64_t slot = NumberAt(body, 0, 2);
  const std::uint64_t generation = NumberAt(body, 2, 4);
  if (slot == 0 || slot >= roster_.size() || NumberAt(body, 6, 2) >= roster_.size()) return false;
  const NaiveSlot& word = roster_[slot];
  if (word.generation > generation) return true;
  if (word.generation != generation) return false;
  if (word.state == NaiveSlot::kStarting || word.state == NaiveSlot::kUp) return false;
  const auto claimed = static_cast<int>(slot);
  if (claimed == header.source_slot && generation == header.source_generation) return true;
  if (header.source_slot != 0 || claimed != 1 || generation != self_generation_) return false;
  told_to_drain_ = true;
  return true;
}

bool NaiveReceiver::End(std::uint64_t request_id, int slot, std::uint32_t generation) {
  const auto at = requests_.find(request_id);
  if (at == requests_.end() || at->second.slot != slot || at->second.generation != generation)
    return false;
  requests_.erase(at);
  ended_.push_back(request_id);
  return true;
}

}  // namespace alertpipe::fuzz
