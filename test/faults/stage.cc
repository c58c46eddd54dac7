// SPDX-License-Identifier: Apache-2.0
#include "faults/stage.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include <absl/strings/ascii.h>
#include <absl/strings/match.h>
#include <absl/strings/str_cat.h>

#include "os/calls.h"

namespace alertpipe::faults {
namespace {

using Clock = std::chrono::steady_clock;

// How long what should come is waited for, and what a fault may have prevented. The second limit
// decides nothing: the account has to be right whenever the end begins.
constexpr auto kPatience = std::chrono::seconds(10);
constexpr auto kHope = std::chrono::milliseconds(30);
// What a canary has lost never comes.
constexpr auto kPatienceWithACanary = std::chrono::seconds(2);

Clock::duration PatienceWith(const Fault& fault) {
  return fault.harm == Harm::kFails ? Clock::duration(kPatience) : kPatienceWithACanary;
}

constexpr std::uint32_t kToMany = 0xffff;
constexpr unsigned kNoNumber = ~0U;

struct Header {
  std::uint32_t from;
  std::uint32_t to;
  std::uint32_t number;
  std::uint32_t bytes;
  std::uint32_t response_bytes;
};

char ByteAt(std::uint32_t number, std::size_t at) {
  return static_cast<char>('a' + (number * 7 + at * 13 + at / 4096) % 26);
}

std::string Fill(const Header& header) {
  std::string data(std::max<std::size_t>(header.bytes, sizeof header), 0);
  for (std::size_t at = sizeof header; at < data.size(); ++at) data[at] = ByteAt(header.number, at);
  Header whole = header;
  whole.bytes = static_cast<std::uint32_t>(data.size());
  std::memcpy(data.data(), &whole, sizeof whole);
  return data;
}

// False if the data is not what was sent.
bool Read(std::string_view data, Header* header) {
  if (data.size() < sizeof *header) return false;
  std::memcpy(header, data.data(), sizeof *header);
  if (header->bytes != data.size() || header->from >= kActors) return false;
  for (std::size_t at = sizeof *header; at < data.size(); ++at) {
    if (data[at] != ByteAt(header->number, at)) return false;
  }
  return true;
}

std::map<std::string, int> Targets(const runner::Descriptors& descriptors) {
  std::map<std::string, int> targets;
  for (const auto& [fd, target] : descriptors) ++targets[target];
  return targets;
}

int Sum(const std::map<std::string, int>& targets) {
  int sum = 0;
  for (const auto& [target, count] : targets) sum += count;
  return sum;
}

// -1 if none.
int FaultyActor(const Ledger& ledger, const Fault& fault) {
  for (int actor = 0; actor < kActors; ++actor) {
    if (ledger.actors[actor] != ActorState::kNone && ledger.roles[actor] == fault.role)
      return actor;
  }
  return -1;
}

// Between all that live; the one that met the fault counts as a sender also when it has closed.
bool EverythingSettled(const Ledger& ledger, const Fault& fault) {
  const int faulty = FaultyActor(ledger, fault);
  const auto counts = [&](int actor) {
    return ledger.actors[actor] == ActorState::kAttached ||
           (actor == faulty && ledger.actors[actor] == ActorState::kEnded);
  };
  for (int from = 0; from < kActors; ++from) {
    if (!counts(from)) continue;
    for (int to = 0; to < kActors; ++to) {
      if (ledger.actors[to] == ActorState::kAttached && !ledger.Settled(from, to)) return false;
    }
  }
  return true;
}

// Some errors say how things are: the library concludes that, and has nothing to report.
bool IsAnswer(const Fault& fault) {
  switch (fault.site) {
    case Site::kOpen:
    case Site::kReadlink:
    case Site::kGetdents64:
      return fault.error == ENOENT || fault.error == EACCES || fault.error == EPERM;
    case Site::kGetSeals:
    case Site::kKill:
      return true;
    default:
      return false;
  }
}

}  // namespace

// ---- Actor --------------------------------------------------------------------------------------

Actor::Actor(Ledger* ledger, const Fault& fault) : ledger_(ledger), fault_(fault) {
  uv_loop_init(&loop_);
  uv_timer_init(&loop_, &tick_);
  uv_timer_start(
      &tick_, [](uv_timer_t*) {}, 1, 1);
}

void Actor::Install(Endpoint* endpoint, const Peer& self) {
  endpoint_ = endpoint;
  self_ = ActorOf(self);
  endpoint_->ReceiveDefault([this](Alert& alert) { Hear(alert); });
  endpoint_->OnUndelivered([this](const Undelivered& undelivered) { Failed(undelivered); });
  endpoint_->OnDrained([this](const Peer&) { ++drained; });
  endpoint_->OnDamage([this](const Damage&) { Wrong("damage"); });
  endpoint_->OnDiagnostic([this](const Diagnostic& report) {
    if (report.kind == Diagnostic::Kind::kDrained || report.kind == Diagnostic::Kind::kRefusedFull)
      return;
    if (report.kind == Diagnostic::Kind::kKilled) {
      kill_error = report.error;
      if (kill_error == 0) return;
    }
    const std::string_view text = report.text;
    ledger_->said.Add(absl::StrCat(absl::string_view(text.data(), text.size()), ": ",
                                   std::strerror(report.error), " (errno ", report.error, ")"));
  });
  ledger_->roles[self_] = Injector::role();
  ledger_->actors[self_] = ActorState::kAttached;
}

std::string Actor::Data(const Peer* to, std::size_t bytes, unsigned* number) {
  *number = next_number_++;
  if (*number >= AlertSet::kMax) Wrong("the scenario sends too much");
  return Fill({static_cast<std::uint32_t>(self_),
               to != nullptr ? static_cast<std::uint32_t>(ActorOf(*to)) : kToMany, *number,
               static_cast<std::uint32_t>(bytes), 0});
}

void Actor::Accepted(const Peer& to, unsigned number, std::uint64_t alert_id) {
  const int actor = ActorOf(to);
  if (alert_id == 0) alert_id = std::max<std::uint64_t>(next_id_[actor], 1);
  next_id_[actor] = alert_id + 1;
  numbers_[{actor, alert_id}] = number;
  ledger_->pairs[self_][actor].accepted.Add(number);
}

bool Actor::Send(const Peer& to, std::size_t bytes) {
  unsigned number;
  const std::string data = Data(&to, bytes, &number);
  const SendResult sent = endpoint_->Send(to, "lent", data);
  if (sent.ok()) Accepted(to, number, sent.alert_id());
  return Note(sent.status());
}

bool Actor::Reply(const Peer& to, std::size_t bytes) {
  unsigned number;
  const std::string data = Data(&to, bytes, &number);
  const SendResult sent = endpoint_->Send(to, "lent", data);
  if (sent.ok()) Accepted(to, number, sent.alert_id());
  return absl::IsUnavailable(sent.status()) ? false : Note(sent.status());
}

void Actor::SendUntilFull(const Peer& to, std::size_t bytes) {
  for (int sent = 0; sent < 20; ++sent) {
    unsigned number;
    const std::string data = Data(&to, bytes, &number);
    const SendResult result = endpoint_->Send(to, "lent", data);
    if (!result.ok()) {
      // The queue's limit is no failure.
      if (!absl::StrContains(result.status().message(), "queued_bytes")) Note(result.status());
      return;
    }
    Accepted(to, number, result.alert_id());
  }
}

bool Actor::SendOwned(const Peer& to, std::size_t bytes) {
  unsigned number;
  const std::string data = Data(&to, bytes, &number);
  absl::StatusOr<Buffer> buffer = Buffer::Copy(data);
  if (!buffer.ok()) return Note(buffer.status());
  const SendResult sent = endpoint_->Send(to, "owned", *std::move(buffer));
  if (sent.ok()) Accepted(to, number, sent.alert_id());
  return Note(sent.status());
}

void Actor::Broadcast(std::size_t bytes, Scope scope, const std::vector<Peer>& to) {
  unsigned number;
  const std::string data = Data(nullptr, bytes, &number);
  const BroadcastResult result = endpoint_->Broadcast("many", data, scope);
  if (!Note(result.status())) return;
  if (result.accepted + result.refused.size() != to.size()) Wrong("a broadcast to others");
  for (const Peer& peer : to) {
    const auto refusal =
        std::find_if(result.refused.begin(), result.refused.end(),
                     [&](const Refusal& other) { return other.peer.slot == peer.slot; });
    if (refusal == result.refused.end()) {
      Accepted(peer, number, 0);
    } else {
      Note(refusal->status);
    }
  }
}

ResponseCallback Actor::OnResponse(std::size_t bytes) {
  return [this, bytes](Response& response) {
    Pair& pair = ledger_->pairs[self_][ActorOf(response.peer())];
    if (++pair.responses > pair.requests) Wrong("a request ended twice");
    if (!response.ok()) {
      ledger_->said.Add(absl::StrCat("response: ", response.status().ToString()));
    } else if (response.data() != std::string(bytes, 'r')) {
      Wrong("a response is torn");
    }
  };
}

void Actor::Request(const Peer& to, std::size_t bytes, std::size_t response_bytes) {
  unsigned number;
  std::string data = Data(&to, bytes, &number);
  const auto wanted = static_cast<std::uint32_t>(response_bytes);
  std::memcpy(data.data() + offsetof(Header, response_bytes), &wanted, sizeof wanted);
  const SendResult sent =
      endpoint_->Request(to, "ask", data, absl::InfiniteDuration(), OnResponse(response_bytes));
  if (sent.ok()) {
    ++ledger_->pairs[self_][ActorOf(to)].requests;
    next_id_[ActorOf(to)] = sent.alert_id() + 1;
  }
  Note(sent.status());
}

void Actor::Gather(std::size_t bytes, const std::vector<Peer>& to) {
  unsigned number;
  const std::string data = Data(nullptr, bytes, &number);
  Pair& own = ledger_->pairs[self_][self_];
  const BroadcastResult result = endpoint_->Gather("ask", data, absl::InfiniteDuration(),
                                                   OnResponse(0), [&own] { ++own.responses; });
  if (!Note(result.status())) return;
  ++own.requests;
  if (result.accepted + result.refused.size() != to.size()) Wrong("a gather from others");
  for (const Refusal& refusal : result.refused) Note(refusal.status);
  for (const Peer& peer : to) {
    ++ledger_->pairs[self_][ActorOf(peer)].requests;
    if (std::none_of(result.refused.begin(), result.refused.end(),
                     [&](const Refusal& other) { return other.peer.slot == peer.slot; })) {
      ++(next_id_[ActorOf(peer)] = std::max<std::uint64_t>(next_id_[ActorOf(peer)], 1));
    }
  }
}

void Actor::Barrier() {
  Pair& own = ledger_->pairs[self_][self_];
  // What has been accepted for each up to here.
  std::vector<std::array<std::uint64_t, 4>> before(kActors);
  for (int to = 0; to < kActors; ++to) {
    for (std::size_t word = 0; word < 4; ++word)
      before[static_cast<std::size_t>(to)][word] = ledger_->pairs[self_][to].accepted.words[word];
  }
  const Result begun = endpoint_->Barrier(
      absl::InfiniteDuration(), [this, &own, before](const BarrierReport& report) {
        if (++own.responses > own.requests) Wrong("a barrier ended twice");
        if (!report.status.ok()) {
          ledger_->said.Add(absl::StrCat("barrier: ", report.status.ToString()));
          return;
        }
        for (int to = 0; to < kActors; ++to) {
          const Pair& pair = ledger_->pairs[self_][to];
          if (to == self_ || ledger_->actors[to] != ActorState::kAttached) continue;
          for (std::size_t word = 0; word < 4; ++word) {
            const std::uint64_t settled = pair.delivered.words[word] | pair.failed.words[word];
            if ((before[static_cast<std::size_t>(to)][word] & ~settled) != 0)
              Wrong("a barrier ended too early");
          }
        }
      });
  if (Note(begun)) ++own.requests;
}

bool Actor::Signal(const Peer& to, std::string_view name) {
  const SendResult sent = endpoint_->Send(to, name);
  if (sent.ok()) {
    numbers_[{ActorOf(to), sent.alert_id()}] = kNoNumber;
    next_id_[ActorOf(to)] = sent.alert_id() + 1;
  }
  return Note(sent.status());
}

void Actor::Hear(Alert& alert) {
  Header header;
  if (!Read(alert.data(), &header)) return Wrong("an alert is torn");
  const int from = ActorOf(alert.sender());
  if (static_cast<int>(header.from) != from) return Wrong("an alert of another sender");
  if (header.to != kToMany && static_cast<int>(header.to) != self_)
    return Wrong("an alert for somebody else");
  Pair& pair = ledger_->pairs[from][self_];
  if (header.number < heard_[from]) Wrong("an alert out of order");
  heard_[from] = header.number + 1;
  if (alert.name() != "ask") {
    if (!pair.delivered.Add(header.number)) Wrong("an alert came twice");
    return;
  }
  if (!pair.asked.Add(header.number)) Wrong("a request came twice");
  const SendResult sent = alert.Respond(std::string(header.response_bytes, 'r'));
  if (sent.ok()) next_id_[from] = sent.alert_id() + 1;
  Note(sent.status());
}

void Actor::Failed(const Undelivered& undelivered) {
  const std::string_view reason = ToString(undelivered.reason);
  ledger_->said.Add(absl::StrCat("undelivered: ", absl::string_view(reason.data(), reason.size())));
  if (undelivered.is_response) return;
  const int actor = ActorOf(undelivered.peer);
  const auto found = numbers_.find({actor, undelivered.alert_id});
  if (found == numbers_.end()) return Wrong("an alert failed that was never accepted");
  if (found->second == kNoNumber) return;
  Header header;
  if (undelivered.has_data && (!Read(undelivered.data, &header) || header.number != found->second))
    Wrong("an alert failed with other data");
  if (!ledger_->pairs[self_][actor].failed.Add(found->second)) Wrong("an alert failed twice");
}

bool Actor::Note(const absl::Status& status) {
  if (status.ok()) return true;
  ++ledger_->refusals;
  ledger_->said.Add(absl::StrCat("status: ", status.ToString()));
  return false;
}

void Actor::ExpectRefused(const Peer& to) {
  const SendResult sent = endpoint_->Send(To::Slot(to.slot), "lent", "for nobody");
  if (!absl::IsUnavailable(sent.status()))
    Wrong(absl::StrCat("a retired worker was sent to: ", sent.status().ToString()));
}

void Actor::Wrong(std::string_view what) { ledger_->wrong.Add(what); }

void Actor::Turn() {
  if (service) service();
  uv_run(&loop_, UV_RUN_ONCE);
}

void Actor::Turns(int turns) {
  for (int turn = 0; turn < turns; ++turn) Turn();
}

bool Actor::Until(std::string_view what, const std::function<bool()>& done) {
  const auto start = Clock::now();
  while (!done()) {
    Turn();
    const auto waited = Clock::now() - start;
    if (waited < kHope) continue;
    const bool stays = fault_.for_good && ledger_->tally.failed > 0 &&
                       (ledger_->said.size() > 0 || fault_.error == EAGAIN);
    if (stays || ledger_->refusals > 0) return false;
    if (waited < PatienceWith(fault_)) continue;
    Wrong(absl::StrCat("waited in vain for ", absl::string_view(what.data(), what.size())));
    return false;
  }
  return true;
}

void Actor::Close(absl::Duration deadline) {
  if (!installed()) return;
  bool closed = false;
  const Result result =
      endpoint_->Close(deadline, [&closed](const CloseReport&) { closed = true; });
  // One that was about to close by itself goes on with that.
  const bool by_itself = !result.ok() && ledger_->retired[self_];
  if (!result.ok() && !by_itself) {
    Note(result.status());
    return;
  }
  const auto start = Clock::now();
  while (!closed && !(by_itself && Idle()) && Clock::now() - start < PatienceWith(fault_)) Turn();
  if (!closed && !by_itself) Wrong("Close did not end");
}

bool Actor::Idle() {
  uv_unref(reinterpret_cast<uv_handle_t*>(&tick_));
  const bool idle = uv_loop_alive(&loop_) == 0;
  uv_ref(reinterpret_cast<uv_handle_t*>(&tick_));
  return idle;
}

void Actor::CloseLoop() {
  uv_close(reinterpret_cast<uv_handle_t*>(&tick_), nullptr);
  for (int turn = 0; turn < 100 && uv_run(&loop_, UV_RUN_NOWAIT) != 0; ++turn) {
  }
  if (uv_loop_close(&loop_) != 0) Wrong("something was left in the loop");
}

// ---- Workers ------------------------------------------------------------------------------------

int Stage::Live(Slot slot, const Part& part, bool own_fork) {
  const Peer self = {getpid(), slot.number(), slot.generation()};
  const auto before = Targets(runner::ReadDescriptors());
  const std::int64_t mapped = runner::MappingBytes();
  const long blocks = Injector::blocks();
  int code = 0;
  {
    Actor actor(ledger_, fault_);
    absl::StatusOr<std::unique_ptr<Worker>> attached =
        Worker::Attach(std::move(slot), actor.loop(), attach);
    if (actor.Note(attached.status())) {
      std::unique_ptr<Worker> worker = *std::move(attached);
      actor.Install(worker.get(), self);
      if (part) part(actor, worker);
      const Phase end = actor.faulty() ? Phase::kFaultyEnds : Phase::kAllEnd;
      const auto left = [&] { return worker != nullptr && actor.Idle(); };
      while (!left() && ledger_->phase.load() < end &&
             (ledger_->orphans || getppid() == ledger_->tally.pids[0]))
        actor.Turn();
      const bool drained = left();
      if (drained && !ledger_->retired[ActorOf(self)]) actor.Wrong("a loop ended by itself");
      if (worker != nullptr) {
        if (!drained) actor.Close(actor.faulty() ? absl::ZeroDuration() : absl::Seconds(5));
        worker.reset();
      }
      ledger_->actors[ActorOf(self)] = drained ? ActorState::kDrained : ActorState::kEnded;
    } else {
      ledger_->actors[ActorOf(self)] = ActorState::kRefused;
      code = 3;
    }
    actor.CloseLoop();
  }
  const auto after = Targets(runner::ReadDescriptors());
  // In an own fork Attach has put harmless descriptors in the place of the master's.
  for (const auto& [target, count] : after) {
    const auto old = before.find(target);
    if (!own_fork && (old == before.end() || old->second < count))
      ledger_->wrong.Add(absl::StrCat("a worker leaves open ", target));
  }
  if (Sum(after) > Sum(before)) ledger_->wrong.Add("a worker leaves descriptors open");
  if (Injector::blocks() != blocks) {
    ledger_->wrong.Add(absl::StrCat("a worker holds ", Injector::blocks() - blocks, " blocks"));
  }
  // Under sanitizers and valgrind the mappings are theirs.
  if (runner::IsHeapMeasurable() &&
      runner::MappingBytes() > mapped + ledger_->tally.kept[Injector::role()] + (1 << 20))
    ledger_->wrong.Add("a worker leaves mappings");
  return code;
}

// ---- The master ---------------------------------------------------------------------------------

bool Stage::Create(const MasterOptions& options, MasterIs is) {
  absl::StatusOr<std::unique_ptr<Master>> created = Master::Create(options);
  if (!me.Note(created.status())) return false;
  master = *std::move(created);
  master->OnExit([this](const WorkerExit& exit) { NoteExit(exit); });
  if (is == MasterIs::kAttached) return Attach();
  if (is == MasterIs::kWithoutLoop) me.service = [this] { me.Note(master->Service().status()); };
  return true;
}

bool Stage::Attach() {
  if (!me.Note(master->Attach(me.loop()))) {
    me.service = [this] { me.Note(master->Service().status()); };
    return false;
  }
  me.service = nullptr;
  me.Install(master.get(), master->self());
  return true;
}

Peer Stage::Spawn(Part part) {
  const absl::StatusOr<Peer> worker = master->Spawn(
      [this, part = std::move(part)](Slot slot) { return Live(std::move(slot), part, false); });
  if (!me.Note(worker.status())) return {0, -1, 0};
  started.push_back(*worker);
  return *worker;
}

Peer Stage::Respawn(int slot) {
  const absl::StatusOr<Peer> worker = master->Respawn(slot);
  if (!me.Note(worker.status())) return {0, -1, 0};
  started.push_back(*worker);
  return *worker;
}

pid_t Stage::ForkFor(Slot* slot, Part part) {
  const pid_t pid = os::calls().fork();
  if (pid == 0) _exit(Live(std::move(*slot), part, true));
  if (pid < 0) me.Note(absl::ResourceExhaustedError(absl::StrCat("fork: ", std::strerror(errno))));
  return pid;
}

bool Stage::Ready() {
  return me.Until("workers to attach", [this] {
    return std::all_of(started.begin(), started.end(), [this](const Peer& worker) {
      return ledger_->actors[ActorOf(worker)] != ActorState::kNone || reaped.count(worker.pid) != 0;
    });
  });
}

void Stage::NoteExit(const WorkerExit& exit) {
  reaped[exit.worker.pid] = true;
  if (exit.killed_at_deadline) {
    if (!ledger_->retired[ActorOf(exit.worker)]) me.Wrong("a worker was killed for no reason");
    ledger_->actors[ActorOf(exit.worker)] = ActorState::kKilled;
  }
  const bool killed = ledger_->actors[ActorOf(exit.worker)] == ActorState::kKilled;
  if (exit.known && exit.signal != 0 && !killed)
    me.Wrong(absl::StrCat("a worker died of signal ", exit.signal));
  if (on_exit) on_exit(exit);
}

bool Stage::Retire(const Peer& worker, absl::Duration deadline) {
  ledger_->retired[ActorOf(worker)] = true;
  RetireOptions options;
  options.deadline = deadline;
  return me.Note(master->Retire(worker.slot, options));
}

bool Stage::Replace(const Peer& worker) {
  ledger_->retired[ActorOf(worker)] = true;
  const auto done = [this](const RestartReport& what) {
    if (report.has_value()) me.Wrong("a replacement ended twice");
    report = what;
    if (!what.status.ok()) ledger_->said.Add(absl::StrCat("replacement: ", what.status.ToString()));
  };
  replacing_ = me.Note(master->Replace(worker.slot, absl::InfiniteDuration(), done));
  return replacing_;
}

bool Stage::Kill(const Peer& worker) {
  if (worker.slot < 0 || reaped.count(worker.pid) != 0) return true;
  ledger_->actors[ActorOf(worker)] = ActorState::kKilled;
  kill(worker.pid, SIGKILL);
  return me.Until("a death to be noticed", [&] { return reaped.count(worker.pid) != 0; });
}

bool Stage::AllReaped() const {
  return std::all_of(started.begin(), started.end(),
                     [this](const Peer& worker) { return reaped.count(worker.pid) != 0; });
}

void Stage::CloseMaster(absl::Duration deadline) {
  if (master == nullptr) return;
  if (me.installed()) {
    me.Close(deadline);
    me.Forget();
    ledger_->actors[0] = ActorState::kEnded;
  }
  me.service = [this] { me.Note(master->Service().status()); };
}

void Stage::End() {
  me.Until("everything to be settled", [this] { return EverythingSettled(*ledger_, fault_); });
  ledger_->phase = Phase::kFaultyEnds;
  const int faulty = FaultyActor(*ledger_, fault_);
  if (fault_.role == 0) {
    CloseMaster(absl::ZeroDuration());
  } else if (faulty >= 0) {
    me.Until("the faulty one to end",
             [&] { return ledger_->actors[faulty] != ActorState::kAttached; });
  }
  // Seen once is enough: a successor may begin to send at any time.
  const auto start = Clock::now();
  bool settled = false;
  while (!(settled = EverythingSettled(*ledger_, fault_)) &&
         Clock::now() - start < PatienceWith(fault_)) {
    me.Turn();
  }
  if (!settled) me.Wrong("not everything was settled");
  ledger_->phase = Phase::kAllEnd;
  me.Until("all exits", [this] { return AllReaped(); });
  CloseMaster(absl::Seconds(5));
  me.service = nullptr;
  master.reset();
  ReapRest();
  me.CloseLoop();
  if (replacing_ && !report.has_value()) me.Wrong("a replacement did not end");
}

// Processes that the library has not reaped, because it was not to or because it could not.
void Stage::ReapRest() {
  for (int role = 1; role < kRoles; ++role) {
    const pid_t pid = ledger_->tally.pids[role];
    if (pid == 0) continue;
    const auto start = Clock::now();
    pid_t result;
    while ((result = waitpid(pid, nullptr, WNOHANG)) == 0 && Clock::now() - start < kPatience)
      usleep(500);
    if (result == 0) {
      me.Wrong("a worker hangs");
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
  }
}

// ---- A run --------------------------------------------------------------------------------------

namespace {

void CheckPairs(Ledger* ledger) {
  for (int from = 0; from < kActors; ++from) {
    for (int to = 0; to < kActors; ++to) {
      const Pair& pair = ledger->pairs[from][to];
      for (int word = 0; word < 4; ++word) {
        const std::uint64_t accepted = pair.accepted.words[word];
        const std::uint64_t delivered = pair.delivered.words[word];
        const std::uint64_t failed = pair.failed.words[word];
        if ((delivered & failed) != 0) ledger->wrong.Add("an alert was delivered and failed");
        if ((delivered & ~accepted) != 0 && ledger->actors[from] != ActorState::kKilled)
          ledger->wrong.Add("an alert was refused and delivered");
        if ((failed & ~accepted) != 0) ledger->wrong.Add("an alert was refused and failed");
      }
    }
  }
}

// A worker that was retired and left by itself. Only what it sent to one that met the fault, or
// was killed, may lie in that one's pipe.
void CheckDrained(const Fault& fault, Ledger* ledger) {
  const int faulty = FaultyActor(*ledger, fault);
  for (int drained = 1; drained < kActors; ++drained) {
    if (ledger->actors[drained] != ActorState::kDrained) continue;
    for (int other = 0; other < kActors; ++other) {
      if (ledger->actors[other] == ActorState::kKilled) continue;
      if (!ledger->Settled(other, drained))
        ledger->wrong.Add("a worker left, and what was sent to it is lost");
      if (other != faulty && !ledger->Settled(drained, other))
        ledger->wrong.Add("a worker left, and what it had sent is lost");
    }
  }
}

// What the process with the fault was told by a call names what happened.
void CheckWords(const Fault& fault, Ledger* ledger) {
  if (ledger->tally.failed == 0 || IsAnswer(fault)) return;
  const SiteErrors& site = ErrorsOf(fault.site);
  const std::string error = absl::AsciiStrToLower(std::strerror(fault.error));
  char by_libuv[80];
  uv_strerror_r(-fault.error, by_libuv, sizeof by_libuv);
  bool refused = false;
  bool named = false;
  for (int line = 0; line < ledger->said.size(); ++line) {
    const auto& said = ledger->said.lines[line];
    if (!said.whole || said.role != fault.role) continue;
    refused = refused || absl::StartsWith(said.text, "status: ");
    named = named || absl::StrContains(said.text, by_libuv) ||
            absl::StrContains(absl::AsciiStrToLower(said.text), error) ||
            absl::StrContains(said.text, absl::StrCat("errno ", fault.error)) ||
            (site.named_as != nullptr && absl::StrContains(said.text, site.named_as));
  }
  if (refused && !named) ledger->wrong.Add("the error is not named");
}

}  // namespace

namespace {

// In the process that adopts the workers of a master that has died: their end.
void EndOrphans(const Fault& fault, Ledger* ledger) {
  const auto until = [](const std::function<bool()>& done) {
    const auto start = Clock::now();
    while (!done() && Clock::now() - start < kPatience) usleep(500);
    return done();
  };
  const auto settled = [&] { return EverythingSettled(*ledger, fault); };
  // Their parts take as long as they wait.
  until([&] { return ledger->flags[kOrphansReady] >= ledger->flags[kOrphans]; });
  if (!fault.for_good) until(settled);
  ledger->phase = Phase::kFaultyEnds;
  const int faulty = FaultyActor(*ledger, fault);
  until([&] { return faulty <= 0 || ledger->actors[faulty] != ActorState::kAttached; });
  if (!until(settled)) ledger->wrong.Add("not everything was settled");
  ledger->phase = Phase::kAllEnd;
  int status = 0;
  pid_t pid = 0;
  until([&] {
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
      if (!WIFEXITED(status)) ledger->wrong.Add(absl::StrCat("an orphan ended with ", status));
    }
    return pid < 0;
  });
  for (const auto& orphan : ledger->tally.pids) {
    if (pid < 0 || orphan == 0 || kill(orphan, SIGKILL) != 0) continue;
    ledger->wrong.Add("an orphan hangs");
    waitpid(orphan, nullptr, 0);
  }
}

void PlayHousehold(const Scenario& scenario, const Fault& fault, Ledger* ledger) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  ledger->orphans = true;
  const pid_t master = fork();
  if (master == 0) {
    Injector injector(&ledger->tally, fault, scenario.kernel);
    Stage stage(ledger, fault);
    if (stage.Create(scenario.options, scenario.master)) scenario.play(stage);
    _exit(1);
  }
  int status = 0;
  while (waitpid(master, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) ledger->wrong.Add("no master died");
  ledger->actors[0] = ActorState::kKilled;
  ledger->tally.pids[0] = 0;
  EndOrphans(fault, ledger);
}

void PlayFamily(const Scenario& scenario, const Fault& fault, Ledger* ledger) {
  Injector injector(&ledger->tally, fault, scenario.kernel);
  {
    Stage stage(ledger, fault);
    ledger->tally.armed = scenario.from_creation;
    if (stage.Create(scenario.options, scenario.master)) scenario.play(stage);
    stage.End();
  }
  if (Injector::blocks() != 0)
    ledger->wrong.Add(absl::StrCat("the master holds ", Injector::blocks(), " blocks"));
}

}  // namespace

void Play(const Scenario& scenario, const Fault& fault, Ledger* ledger) {
  const runner::Descriptors before = runner::ReadDescriptors();
  if (scenario.master_dies) {
    PlayHousehold(scenario, fault, ledger);
  } else {
    PlayFamily(scenario, fault, ledger);
  }
  for (const std::string& line : runner::CompareDescriptors(before, runner::ReadDescriptors()))
    ledger->wrong.Add(line);
  CheckPairs(ledger);
  CheckDrained(fault, ledger);
  CheckWords(fault, ledger);
}

}  // namespace alertpipe::faults
