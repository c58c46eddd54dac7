// SPDX-License-Identifier: Apache-2.0
#include "simulated_family.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace alertpipe::core {

// ---- The family

SimulatedFamily::SimulatedFamily(const FamilySettings& settings)
    : roster_(settings), board_(static_cast<int>(settings.slots)) {
  for (std::uint32_t slot = 0; slot < settings.slots; ++slot) {
    members_.emplace_back(static_cast<std::size_t>(settings.pipe_capacity));
  }
  roster_.Publish(kMasterSlot, 1, SlotState::kUp, 100);
  StartProcess(kMasterSlot, 1, 100);
}

std::unique_ptr<SimulatedFamily> SimulatedFamily::WithWorkers(FamilySettings settings) {
  auto family = std::make_unique<SimulatedFamily>(settings);
  for (int slot = 1; slot < family->slots(); ++slot) family->Respawn(slot);
  family->Settle();
  for (int slot = 0; slot < family->slots(); ++slot) family->Events(slot);
  return family;
}

SimulatedFamily::~SimulatedFamily() = default;

void SimulatedFamily::StartProcess(int slot, std::uint32_t generation, std::uint32_t pid) {
  Member& member = members_[Index(slot)];
  Peer self;
  self.slot = slot;
  self.generation = generation;
  self.pid = static_cast<pid_t>(pid);
  member.delivered.clear();
  member.damage.clear();
  member.told.clear();
  member.ended.clear();
  member.page->Reset(generation);
  member.core = std::make_unique<Endpoint>(roster_.roster(), self, member.page.get(),
                                           slot == kMasterSlot ? &board_ : nullptr);
  ASSERT_TRUE(member.core->inbox().Allocate());
}

// ---- Sending, as the facade does it

struct SimulatedFamily::Payload {
  std::string_view view;
  SharedData* shared = nullptr;
  bool owned = false;
  bool copied = false;

  // Gives *content its data.
  Payload(Content* content, Buffer* handed_over, Meter* meter) : owned(handed_over != nullptr) {
    if (owned) content->data = handed_over->view();
    view = content->data;
    if (content->fits_packet()) return;
    Buffer room;
    if (!owned) room = Buffer::Allocate(view.size()).value();
    shared = SharedData::Create(owned ? handed_over : &room, meter);
    if (owned) content->data = view = shared->view();
  }
  Payload(const Payload&) = delete;
  Payload& operator=(const Payload&) = delete;
  ~Payload() {
    if (shared != nullptr) shared->Release();
  }
};

SendResult SimulatedFamily::Send(int from, const To& to, std::string_view name,
                                 std::string_view data) {
  return SendLent(from, to, {name, data}, nullptr);
}

SendResult SimulatedFamily::Send(int from, const To& to, std::string_view name, Buffer data) {
  return SendHandedOver(from, to, {name, {}}, std::move(data), nullptr);
}

SendResult SimulatedFamily::Request(int from, const To& to, std::string_view name,
                                    std::string_view data, std::uint64_t deadline,
                                    std::uint64_t* request_id) {
  const Terms terms{deadline, request_id};
  return SendLent(from, to, {name, data, kHasRequestId}, &terms);
}

SendResult SimulatedFamily::Request(int from, const To& to, std::string_view name, Buffer data,
                                    std::uint64_t deadline, std::uint64_t* request_id) {
  const Terms terms{deadline, request_id};
  return SendHandedOver(from, to, {name, {}, kHasRequestId}, std::move(data), &terms);
}

SendResult SimulatedFamily::Respond(int from, const Peer& to, std::uint64_t request_id,
                                    std::string_view data) {
  return SendLent(from, To(to), {{}, data, kHasRequestId | kIsResponse, request_id}, nullptr);
}

SendResult SimulatedFamily::SendLent(int from, const To& to, Content content,
                                     const Terms* request) {
  if (absl::Status status = at(from).CheckContent(content.name, content.data.size()); !status.ok())
    return status;
  // The memory that the view names is the caller's and ends with the call.
  auto lent = std::make_unique<std::string>(content.data);
  content.data = *lent;
  SendResult result(Outcome::kQueued, 0);
  PlainWay way;
  const bool plain = request == nullptr && content.flags == 0;
  const Outcome outcome =
      plain ? WritePlain(from, at(from).SendPlain(to, content.name, content.data, &way), way)
            : Outcome::kRefused;
  if (outcome != Outcome::kRefused) {
    result = SendResult(outcome, way.alert_id);
  } else {
    Payload payload(&content, nullptr, &at(from).meter());
    result = Post(from, to, content, &payload, request);
  }
  std::fill(lent->begin(), lent->end(), '!');
  return result;
}

Outcome SimulatedFamily::WritePlain(int from, PlainStep step, const PlainWay& way) {
  if (step != PlainStep::kWrite)
    return step == PlainStep::kQueued ? Outcome::kQueued : Outcome::kRefused;
  if (before_write) before_write(from, way.slot);
  if (pipe(way.slot).no_reader || pipe(way.slot).Write(&way.packet, 1) == 0) {
    at(from).NotWrotePlain(way);
    return Outcome::kRefused;
  }
  at(from).WrotePlain(way);
  return Outcome::kWritten;
}

SendResult SimulatedFamily::SendHandedOver(int from, const To& to, Content content, Buffer data,
                                           const Terms* request) {
  if (absl::Status status = at(from).CheckContent(content.name, data.size()); !status.ok())
    return status;
  Payload payload(&content, &data, &at(from).meter());
  return Post(from, to, content, &payload, request);
}

SendResult SimulatedFamily::Post(int from, const To& to, Content content, Payload* payload,
                                 const Terms* request) {
  Target target;
  if (absl::Status status = at(from).Resolve(to, &target); !status.ok()) return status;
  if (before_queue) before_queue(from, target.slot);
  SendResult result = request == nullptr ? Queue(from, target, content, payload, true)
                                         : QueueRequest(from, target, content, payload, *request);
  SettleLent(from, target.slot, payload, false);
  return result;
}

SendResult SimulatedFamily::QueueRequest(int from, const Target& target, Content content,
                                         Payload* payload, const Terms& request) {
  ResponseCallback callback = [](Response&) {};
  if (absl::Status status =
          at(from).BeginRequest(target, request.deadline, &callback, &content.request_id);
      !status.ok()) {
    return status;
  }
  EXPECT_EQ(callback, nullptr);
  SendResult result = Queue(from, target, content, payload, true);
  if (result.ok()) {
    at(from).KeepRequest(content.request_id, target, result.alert_id());
    if (request.request_id != nullptr) *request.request_id = content.request_id;
  } else {
    EXPECT_NE(at(from).DropRequest(content.request_id), nullptr);
  }
  return result;
}

BroadcastResult SimulatedFamily::Broadcast(int from, Scope scope, std::string_view name,
                                           std::string_view data) {
  if (absl::Status status = at(from).CheckContent(name, data.size()); !status.ok()) return status;
  auto lent = std::make_unique<std::string>(data);
  Content content{name, *lent};
  Payload payload(&content, nullptr, &at(from).meter());
  BroadcastResult result = PostToAll(from, scope, content, &payload);
  std::fill(lent->begin(), lent->end(), '!');
  return result;
}

BroadcastResult SimulatedFamily::Broadcast(int from, Scope scope, std::string_view name,
                                           Buffer data) {
  if (absl::Status status = at(from).CheckContent(name, data.size()); !status.ok()) return status;
  Content content{name, {}};
  Payload payload(&content, &data, &at(from).meter());
  return PostToAll(from, scope, content, &payload);
}

BroadcastResult SimulatedFamily::PostToAll(int from, Scope scope, const Content& content,
                                           Payload* payload) {
  std::vector<Target> targets;
  at(from).Select(scope, &targets);
  char encoded[kPacketBytesMax];
  std::string_view record;
  if (content.fits_packet()) {
    EncodePlain(content.name, content.data, encoded);
    record = std::string_view(encoded, PlainSize(content.name.size(), content.data.size()));
  }
  BroadcastResult result;
  for (const Target& target : targets) {
    PlainWay way;
    const std::size_t bytes = content.name.size() + content.data.size();
    const Outcome outcome =
        record.empty() ? Outcome::kRefused
                       : WritePlain(from, at(from).SendPlain(target, record, bytes, &way), way);
    if (outcome != Outcome::kRefused) {
      ++result.accepted;
      if (outcome == Outcome::kWritten) ++result.written;
      continue;
    }
    const bool first_charge = payload->shared == nullptr || result.accepted == 0;
    SendResult sent = Queue(from, target, content, payload, first_charge);
    if (sent.ok()) {
      ++result.accepted;
      if (sent.outcome() == Outcome::kWritten) ++result.written;
    } else {
      const RosterWord& word = target.word;
      result.refused.push_back(
          {{static_cast<pid_t>(word.pid), target.slot, word.generation}, sent});
    }
  }
  for (const Target& target : targets) SettleLent(from, target.slot, payload, true);
  return result;
}

SendResult SimulatedFamily::Queue(int from, const Target& target, const Content& content,
                                  Payload* payload, bool first_charge) {
  const int slot = target.slot;
  SharedData* held = payload->owned ? payload->shared : nullptr;
  Admission admission = at(from).Accept(target, content, held, payload->owned, first_charge);
  if (!admission.status.ok()) {
    at(from).CountRefused(admission.status, content.name.size() + payload->view.size(),
                          admission.full);
    return std::move(admission.status);
  }
  const std::uint64_t failures = at(from).failures(slot);
  if (admission.write_now) Write(from, slot, !admission.idle);
  const bool written = at(from).AllWritten(slot) && at(from).failures(slot) == failures;
  return SendResult(written ? Outcome::kWritten : Outcome::kQueued, admission.alert_id);
}

void SimulatedFamily::SettleLent(int from, int slot, Payload* payload, bool everything) {
  Endpoint& core = at(from);
  if (!core.NeedsLent(slot)) return;
  const Bulk* bulk = core.Lent(slot);
  const bool whole = everything || core.LentUntouched(slot);
  if (!payload->copied) {
    const std::size_t begin = whole ? 0 : bulk->at;
    const std::size_t end = whole ? payload->view.size() : bulk->end;
    std::memcpy(payload->shared->data() + begin, payload->view.data() + begin, end - begin);
    payload->copied = whole;
  }
  core.SettleLent(slot, payload->shared, whole);
}

// ---- The loop

void SimulatedFamily::Write(int from, int to, bool full_only) {
  Endpoint& core = at(from);
  iovec parts[Outbox::kPartsMax];
  while (const int count = core.NextWrite(to, parts, full_only)) {
    if (before_write) before_write(from, to);
    if (pipe(to).no_reader) {
      core.PeerUnreachable(to);
      core.PeerGone(to);
      return;
    }
    const std::size_t taken = pipe(to).Write(parts, count);
    if (taken == 0) {
      core.Blocked(to);
      return;
    }
    core.Wrote(to, taken);
  }
  if (core.HasOutput(to)) core.MarkDirty(to);
}

void SimulatedFamily::EndTurn(int slot) {
  at(slot).BeginTurn();
  if (at(slot).told_to_drain()) at(slot).StepDrain(members_[Index(slot)].holds_requests);
  std::vector<int> dirty;
  at(slot).TakeDirty(&dirty);
  for (const int to : dirty) Write(slot, to);
}

void SimulatedFamily::Pump(int slot) {
  for (int to = 0; to < slots(); ++to) {
    if (!at(slot).blocked(to)) continue;
    at(slot).Unblocked(to);
    if (at(slot).HasOutput(to)) at(slot).MarkDirty(to);
  }
  EndTurn(slot);
}

bool SimulatedFamily::Read(int slot) {
  Inbox& inbox = at(slot).inbox();
  const std::size_t bytes = pipe(slot).Read(inbox.space(), inbox.space_bytes());
  inbox.Received(bytes);
  Take(slot);
  return bytes > 0;
}

void SimulatedFamily::Take(int slot) {
  Member& member = members_[Index(slot)];
  Arrival arrival;
  for (;;) {
    member.core->NextArrival(&arrival);
    if (arrival.kind == Arrival::Kind::kNone) return;
    if (on_response &&
        (arrival.kind == Arrival::Kind::kResponse || arrival.kind == Arrival::Kind::kLateResponse))
      on_response(slot, arrival);
    if (arrival.kind == Arrival::Kind::kDamage) {
      member.damage.push_back(arrival.damage);
    } else if (arrival.kind == Arrival::Kind::kResponse) {
      member.ended.push_back({arrival.request_id, arrival.sender, ResponseOutcome::kResponse,
                              std::string(arrival.data)});
      EXPECT_NE(member.core->TakeResponse(arrival), nullptr);
    } else if (arrival.kind != Arrival::Kind::kAlert) {
      continue;  // has been taken care of
    } else if (on_alert) {
      on_alert(slot, arrival);
    } else {
      member.delivered.push_back({arrival.sender, std::string(arrival.name),
                                  std::string(arrival.data), arrival.request_id});
    }
  }
}

void SimulatedFamily::ReadAll(int slot) {
  while (Read(slot)) {
  }
}

std::vector<Delivery> SimulatedFamily::Deliver(int slot) {
  ReadAll(slot);
  return std::exchange(members_[Index(slot)].delivered, {});
}

void SimulatedFamily::TellAll(int slot) {
  Member& member = members_[Index(slot)];
  Event event;
  while (at(slot).NextEvent(&event)) {
    const Undelivered& undelivered = event.undelivered;
    member.told.push_back({event.kind, event.peer, undelivered.alert_id,
                           std::string(undelivered.name), std::string(undelivered.data),
                           undelivered.has_name, undelivered.has_data, undelivered.is_response,
                           undelivered.reason});
  }
  EndedRequest ended;
  while (at(slot).NextEnded(&ended)) {
    EXPECT_NE(ended.callback, nullptr);
    member.ended.push_back({ended.id, ended.peer, ended.outcome, {}});
  }
  EndedBarrier barrier;
  while (at(slot).NextEndedBarrier(&barrier)) barrier.callback(barrier.report);
  EXPECT_FALSE(at(slot).has_events());
}

std::vector<Told> SimulatedFamily::Events(int slot) {
  TellAll(slot);
  return std::exchange(members_[Index(slot)].told, {});
}

std::vector<Ended> SimulatedFamily::Outcomes(int slot) {
  TellAll(slot);
  return std::exchange(members_[Index(slot)].ended, {});
}

absl::Status SimulatedFamily::Barrier(int from, Scope scope, int number, std::uint64_t deadline) {
  std::vector<Target> targets;
  at(from).SelectLiving(scope, &targets);
  BarrierCallback callback = [this, from, number](const BarrierReport& report) {
    members_[Index(from)].barriers.emplace_back(number, report);
  };
  return at(from).BeginBarrier(targets, deadline, &callback);
}

std::vector<std::pair<int, BarrierReport>> SimulatedFamily::BarriersEnded(int slot) {
  TellAll(slot);
  return std::exchange(members_[Index(slot)].barriers, {});
}

std::vector<Damage> SimulatedFamily::TakeDamage(int slot) {
  return std::exchange(members_[Index(slot)].damage, {});
}

void SimulatedFamily::Inject(int slot, std::string_view bytes) {
  while (!bytes.empty()) {
    const std::size_t taken = pipe(slot).Write(bytes.substr(0, 4096));
    ASSERT_GT(taken, 0u) << "the pipe is full";
    bytes.remove_prefix(taken);
  }
}

void SimulatedFamily::Settle() {
  for (bool moved = true; moved;) {
    moved = false;
    for (int slot = 0; slot < slots(); ++slot) {
      if (!runs(slot)) continue;
      Pump(slot);
      moved = moved || at(slot).dirty();
    }
    for (int slot = 0; slot < slots(); ++slot) {
      if (!runs(slot)) continue;
      while (Read(slot)) moved = true;
    }
  }
}

// ---- Life and death, as the master drives it

void SimulatedFamily::Respawn(int slot) {
  BeginRespawn(slot);
  while (Step(slot)) {
  }
}

void SimulatedFamily::Retire(int slot, int successor) {
  BeginRetire(slot, successor);
  while (Step(slot)) {
  }
}

void SimulatedFamily::Kill(int slot) { members_[Index(slot)].core.reset(); }

void SimulatedFamily::Bury(int slot) {
  BeginBury(slot);
  while (Step(slot)) {
  }
}

bool SimulatedFamily::Step(int slot) {
  using Step = SlotLife::Step;
  Member& member = members_[Index(slot)];
  const RosterWord word = member.life.word();
  switch (member.life.step()) {
    case Step::kNone:
      return false;
    case Step::kPublishStarting:
      board_.StartReader(slot);
      roster_.PublishSuccessor(slot, 0);
      roster_.Publish(slot, word);
      break;
    case Step::kPublishUp:
    case Step::kPublishDown:
      roster_.Publish(slot, word);
      break;
    case Step::kFork:
      if (std::exchange(fork_fails_, false)) {
        member.life.ForkFailed();
      } else {
        StartProcess(slot, word.generation, next_pid_);
        member.life.Forked(next_pid_++);
      }
      return true;
    case Step::kTellJoined:
      board_.Joined(slot, word.generation, word.pid);
      at(kMasterSlot).NoticesChanged();
      break;
    case Step::kPublishDraining:
      roster_.PublishSuccessor(slot, member.life.successor());
      roster_.Publish(slot, word);
      break;
    case Step::kTellDraining:
      board_.Draining(slot, word.generation, member.life.successor());
      at(kMasterSlot).NoticesChanged();
      break;
    case Step::kKill:
      Kill(slot);
      break;
    case Step::kReap:
      break;
    case Step::kDrain:
      Drain(slot);
      break;
    case Step::kTellDied:
      board_.Died(slot, word.generation);
      at(kMasterSlot).NoticesChanged();
      break;
  }
  member.life.Done();
  return true;
}

void SimulatedFamily::Drain(int slot) {
  Member& member = members_[Index(slot)];
  std::string bytes(static_cast<std::size_t>(roster().settings().pipe_capacity) + 4096, '\0');
  bytes.resize(member.pipe.Read(bytes.data(), bytes.size()));
  member.drained = CountDrained(bytes, member.life.word().generation);
  EXPECT_TRUE(member.pipe.empty());
}

}  // namespace alertpipe::core
