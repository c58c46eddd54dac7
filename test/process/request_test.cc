// SPDX-License-Identifier: Apache-2.0
//
// Requests: each ends exactly once, by the response or by what prevented it. The requester is the
// master in the test's own process, whose callbacks can assert; workers respond.
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "family.h"

namespace alertpipe::process {
namespace {

using absl::StatusCode;

constexpr absl::Duration kLong = absl::Minutes(10);

// What the callbacks of a test were told.
struct Told {
  std::vector<ResponseOutcome> outcomes;
  std::vector<std::string> data;
  std::vector<Peer> peers;
  std::vector<absl::Status> statuses;

  ResponseCallback Callback() {
    return [this](Response& response) {
      outcomes.push_back(response.outcome());
      data.emplace_back(response.data());
      peers.push_back(response.peer());
      statuses.push_back(response.status());
    };
  }
  std::size_t count() const { return outcomes.size(); }
};

std::string Echoed(std::string_view data) { return "echo " + std::string(data); }

// Responds to "echo" at once, to "later" by a token in a later turn, "ignored" not at all, "throws"
// by throwing; keeps the tokens of "kept" for ever.
void Responder(Member& me) {
  auto tokens = std::make_shared<std::vector<std::pair<ResponseToken, std::string>>>();
  auto kept = std::make_shared<std::vector<ResponseToken>>();
  me->OnHandlerError([](const HandlerError&) {});
  me->Receive("echo", [&me](Alert& alert) {
    me.Check(alert.is_request(), "a request says so");
    me.Check(alert.Respond(Echoed(alert.data())).ok(), "the response is accepted");
  });
  me->Receive("later", [tokens](Alert& alert) {
    tokens->emplace_back(alert.TakeResponseToken(), Echoed(alert.data()));
  });
  me->Receive("kept", [kept](Alert& alert) { kept->push_back(alert.TakeResponseToken()); });
  me->Receive("dropped", [](Alert& alert) { ResponseToken token = alert.TakeResponseToken(); });
  me->Receive("ignored", [](Alert&) {});
  me->Receive("throws", [](Alert&) { throw std::runtime_error("on purpose"); });
  me->Receive("die", [](Alert&) { raise(SIGKILL); });
  me.Every(2, [tokens] {
    for (auto& [token, data] : *tokens) token.Respond(data);
    tokens->clear();
  });
  me.Run();
  tokens->clear();
  kept->clear();
}

TEST(Request, IsAnsweredByTheHandler) {
  Told told;
  Family family(FamilyOf(2));
  const Peer worker = family.Spawn(Responder);
  const SendResult sent = family->Request(worker.pid, "echo", "to you", kLong, told.Callback());
  ASSERT_TRUE(sent.ok()) << sent.status();
  EXPECT_EQ(sent.alert_id(), 1u);
  EXPECT_EQ(told.count(), 0u) << "never from inside the call";
  ASSERT_TRUE(family.Until([&] { return told.count() == 1; }));
  EXPECT_EQ(told.outcomes[0], ResponseOutcome::kResponse);
  EXPECT_EQ(told.data[0], "echo to you");
  EXPECT_EQ(told.peers[0], worker);
  EXPECT_TRUE(told.statuses[0].ok());
  family.Turns(10);
  EXPECT_EQ(told.count(), 1u);
  const Stats stats = family->stats();
  EXPECT_EQ(stats.requests_sent, 1u);
  EXPECT_EQ(stats.responses_received, 1u);
  EXPECT_EQ(stats.requests_failed, 0u);
  EXPECT_EQ(stats.alerts_delivered, 1u);
}

TEST(Request, OfEverySizeGetsAResponseOfEverySize) {
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn([](Member& me) {
    me->Receive("size", [&me](Alert& alert) {
      me.Check(IsPattern(alert.data().substr(8), 5), "the request is whole");
      const std::uint64_t bytes = NumberOf(alert.data());
      std::string data = Pattern(bytes, 9);
      const SendResult sent =
          bytes % 2 == 0 ? alert.Respond(data) : alert.Respond(Buffer(std::move(data)));
      me.Check(sent.ok(), "the response is accepted");
    });
  });
  std::uint64_t ended = 0;
  std::uint64_t asked = 0;
  for (const std::size_t bytes :
       {0u, 1u, 4035u, 4036u, 4048u, 4049u, 4052u, 8100u, 8121u, 100000u, 1000001u}) {
    std::string data = Numbered(bytes) + Pattern(bytes, 5);
    const auto callback = [&, bytes](Response& response) {
      EXPECT_TRUE(response.ok()) << response.status();
      EXPECT_EQ(response.data().size(), bytes);
      EXPECT_TRUE(IsPattern(response.data(), 9));
      const auto taken = response.TakeData();
      ASSERT_TRUE(taken.ok());
      EXPECT_TRUE(IsPattern(taken->view(), 9));
      EXPECT_TRUE(response.data().empty());
      ++ended;
    };
    const SendResult sent =
        bytes % 2 == 0 ? family->Request(worker, "size", data, kLong, callback)
                       : family->Request(worker, "size", Buffer(std::move(data)), kLong, callback);
    ASSERT_TRUE(sent.ok()) << sent.status();
    ++asked;
    ASSERT_TRUE(family.Until([&] { return ended == asked; }));
  }
}

TEST(Request, IsAnsweredLaterByAToken) {
  Told told;
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn(Responder);
  for (int i = 0; i < 100; ++i)
    ASSERT_TRUE(family->Request(worker, "later", std::to_string(i), kLong, told.Callback()).ok());
  ASSERT_TRUE(family.Until([&] { return told.count() == 100; }));
  for (std::size_t i = 0; i < 100; ++i) EXPECT_EQ(told.data[i], "echo " + std::to_string(i));
}

TEST(Request, ToAnyWorkerNamesWhoAnswered) {
  Told told;
  Family family(FamilyOf(3));
  for (int i = 0; i < 3; ++i) family.Spawn(Responder);
  for (int i = 0; i < 9; ++i)
    ASSERT_TRUE(family->Request(To::AnyWorker(), "echo", "", kLong, told.Callback()).ok());
  ASSERT_TRUE(family.Until([&] { return told.count() == 9; }));
  std::set<int> slots;
  for (const Peer& peer : told.peers) slots.insert(peer.slot);
  EXPECT_EQ(slots.size(), 3u);
}

TEST(Request, BetweenWorkersAndToTheMaster) {
  Shared<Count> ended;
  Family family(FamilyOf(2));
  family->Receive("sum", [](Alert& alert) { alert.Respond(Numbered(NumberOf(alert.data()) + 1)); });
  family.Spawn(Responder);
  family.Spawn([&](Member& me) {
    me->Request(To::Master(), "sum", Numbered(41), kLong, [&](Response& response) {
      me.Check(response.ok() && NumberOf(response.data()) == 42, "the master responds");
      ++*ended;
    });
    me->Request(To::Slot(1), "echo", "x", kLong, [&](Response& response) {
      me.Check(response.data() == "echo x", "the other worker responds");
      ++*ended;
    });
    me.Run();
  });
  ASSERT_TRUE(family.Until([&] { return *ended == 2; }));
}

TEST(Request, ToItselfIsHandledInALaterTurn) {
  Told told;
  Family family(FamilyOf(1));
  family->Receive("self", [](Alert& alert) { alert.Respond("mine"); });
  ASSERT_TRUE(family->Request(To::Master(), "self", "", kLong, told.Callback()).ok());
  EXPECT_EQ(told.count(), 0u);
  ASSERT_TRUE(family.Until([&] { return told.count() == 1; }));
  EXPECT_EQ(told.data[0], "mine");
}

TEST(Request, ThousandsInFlightAreEachEndedOnce) {
  constexpr std::uint64_t kRequests = 20000;
  Family family(FamilyOf(4, 4096));
  for (int i = 0; i < 4; ++i) family.Spawn(Responder);
  std::vector<int> ended(kRequests);
  std::uint64_t right = 0;
  Pump pump(kRequests, [&](std::uint64_t number) {
    return family->Request(To::Slot(1 + static_cast<int>(number % 4)),
                           number % 3 == 0 ? "later" : "echo", std::to_string(number), kLong,
                           [&, number](Response& response) {
                             ++ended[number - 1];
                             right += response.data() == "echo " + std::to_string(number) ? 1 : 0;
                           });
  });
  family->OnDrained([&](const Peer&) { pump.Go(); });
  family.InTurn([&] { pump.Go(); });
  ASSERT_TRUE(family.Until([&] { return right == kRequests; }));
  for (const int count : ended) ASSERT_EQ(count, 1);
  EXPECT_TRUE(pump.trouble().ok()) << pump.trouble();
}

// ---- Without a response -------------------------------------------------------------------------

TEST(RequestEnds, UnhandledWhereNobodyAnswers) {
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn(Responder);
  for (const char* name : {"nobody handles this", "ignored", "throws", "dropped"}) {
    Told told;
    ASSERT_TRUE(family->Request(worker, name, "data", kLong, told.Callback()).ok());
    ASSERT_TRUE(family.Until([&] { return told.count() == 1; })) << name;
    EXPECT_EQ(told.outcomes[0], ResponseOutcome::kUnhandled) << name;
    EXPECT_TRUE(Says(told.statuses[0], StatusCode::kUnimplemented, {"slot 1"}));
  }
}

TEST(RequestEnds, UnhandledForManyWhileTheRequesterDoesNotRead) {
  Told told;
  constexpr std::uint64_t kRequests = 30000;
  Family family(FamilyOf(1, 4096));
  const Peer worker = family.Spawn(Responder);
  std::uint64_t accepted = 0;
  // All within one turn: nothing is read until the end.
  family.InTurn([&] {
    while (accepted < kRequests &&
           family->Request(worker, "ignored", "", kLong, told.Callback()).ok())
      ++accepted;
  });
  EXPECT_EQ(accepted, kRequests);
  ASSERT_TRUE(family.Until([&] { return told.count() == accepted; }));
  for (const ResponseOutcome outcome : told.outcomes)
    ASSERT_EQ(outcome, ResponseOutcome::kUnhandled);
}

TEST(RequestEnds, AtItsDeadlineAndNotAgainByALateResponse) {
  Told told;
  Family family(FamilyOf(1));
  Shared<Count> respond;
  const Peer worker = family.Spawn([&](Member& me) {
    auto token = std::make_shared<ResponseToken>();
    me->Receive("slow", [token](Alert& alert) { *token = alert.TakeResponseToken(); });
    me.Every(2, [&, token] {
      if (*respond == 1 && token->open()) me.Check(token->Respond("late").ok(), "late response");
    });
    me.Run();
    *token = ResponseToken();
  });
  ASSERT_TRUE(family->Request(worker, "slow", "", absl::Milliseconds(30), told.Callback()).ok());
  ASSERT_TRUE(family.Until([&] { return told.count() == 1; }));
  EXPECT_EQ(told.outcomes[0], ResponseOutcome::kDeadline);
  EXPECT_TRUE(Says(told.statuses[0], StatusCode::kDeadlineExceeded, {"slot 1"}));
  respond->store(1);
  ASSERT_TRUE(family.Until([&] { return family->stats().responses_late == 1; }));
  EXPECT_EQ(told.count(), 1u);
  EXPECT_EQ(family->stats().requests_failed, 1u);
}

TEST(RequestEnds, DeadlinesComeInTheirOrder) {
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn(Responder);
  std::vector<int> order;
  for (const int milliseconds : {60, 20, 80, 40}) {
    ASSERT_TRUE(family
                    ->Request(worker, "kept", "", absl::Milliseconds(milliseconds),
                              [&, milliseconds](Response& response) {
                                EXPECT_EQ(response.outcome(), ResponseOutcome::kDeadline);
                                order.push_back(milliseconds);
                              })
                    .ok());
  }
  ASSERT_TRUE(family.Until([&] { return order.size() == 4; }));
  EXPECT_EQ(order, (std::vector<int>{20, 40, 60, 80}));
}

TEST(RequestEnds, WhenThePeerDies) {
  Told told;
  Told other;
  Family family(FamilyOf(2));
  const Peer worker = family.Spawn(Responder);
  family.Spawn(Responder);
  ASSERT_TRUE(family.Ready());
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(
        family->Request(worker, "kept", "", absl::InfiniteDuration(), told.Callback()).ok());
  }
  ASSERT_TRUE(
      family->Request(To::Slot(2), "kept", "", absl::InfiniteDuration(), other.Callback()).ok());
  family.Turns(5);
  EXPECT_EQ(told.count(), 0u);
  ASSERT_TRUE(family.KillAndReap(worker));
  ASSERT_TRUE(family.Until([&] { return told.count() == 10; }));
  for (const ResponseOutcome outcome : told.outcomes)
    EXPECT_EQ(outcome, ResponseOutcome::kPeerDied);
  EXPECT_TRUE(Says(told.statuses[0], StatusCode::kUnavailable, {"slot 1", "died"}));
  EXPECT_EQ(other.count(), 0u) << "another worker's requests go on";
}

TEST(RequestEnds, ByItsCallbackAndNotByOnUndeliveredWhenItNeverLeft) {
  Told told;
  Family family(TightFamilyOf(1));
  const Peer deaf = family.SpawnDeaf(Responder);
  int undelivered = 0;
  family->OnUndelivered([&](const Undelivered& what) {
    EXPECT_EQ(what.name, "plain");
    ++undelivered;
  });
  for (int i = 0; i < 20; ++i) {
    const std::string data = Pattern(i % 2 == 0 ? 500 : 30000, 1);
    ASSERT_TRUE(family->Request(deaf, "echo", data, kLong, told.Callback()).ok());
    ASSERT_TRUE(family->Send(deaf, "plain", data).ok());
  }
  ASSERT_TRUE(family.KillAndReap(deaf));
  ASSERT_TRUE(family.Until([&] { return told.count() == 20; }));
  for (const ResponseOutcome outcome : told.outcomes)
    EXPECT_EQ(outcome, ResponseOutcome::kPeerDied);
  EXPECT_GT(undelivered, 10);
}

// Responses that were written before the death are read before its notice.
TEST(RequestEnds, WithTheResponseIfThatWasWrittenBeforeTheDeath) {
  Told told;
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn(Responder);
  family.ExpectExit(worker, 0, SIGKILL);
  for (int i = 0; i < 500; ++i)
    ASSERT_TRUE(family->Request(worker, "echo", "x", kLong, told.Callback()).ok());
  ASSERT_TRUE(family->Request(worker, "die", "", kLong, told.Callback()).ok());
  ASSERT_TRUE(family.Until([&] { return told.count() == 501; }));
  // Its last packet may not have been full yet: those responses died with it.
  std::size_t answered = 0;
  while (answered < 500 && told.outcomes[answered] == ResponseOutcome::kResponse) ++answered;
  for (std::size_t i = answered; i < 501; ++i)
    EXPECT_EQ(told.outcomes[i], ResponseOutcome::kPeerDied);
}

TEST(RequestEnds, ClosedWhenTheEndpointCloses) {
  Told told;
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn(Responder);
  ASSERT_TRUE(family.Ready());
  ASSERT_TRUE(family->Request(worker, "kept", "", kLong, told.Callback()).ok());
  bool closed = false;
  ASSERT_TRUE(family->Close(absl::Seconds(5), [&](const CloseReport&) { closed = true; }).ok());
  ASSERT_TRUE(family.Until([&] { return closed; }));
  ASSERT_EQ(told.count(), 1u);
  EXPECT_EQ(told.outcomes[0], ResponseOutcome::kClosed);
  EXPECT_TRUE(Says(told.statuses[0], StatusCode::kCancelled));
  EXPECT_TRUE(Says(family->Request(worker, "kept", "", kLong, told.Callback()).status(),
                   StatusCode::kFailedPrecondition));
}

TEST(RequestEnds, ClosedWhenTheEndpointIsDestroyedInItsOwnCallback) {
  Shared<Count> closed;
  Family family(FamilyOf(2));
  family.Spawn(Responder);
  const Peer self = family.Spawn([&](Member& me) {
    for (int i = 0; i < 5; ++i) {
      me->Request(To::Slot(1), "kept", "", kLong, [&](Response& response) {
        me.Check(response.outcome() == ResponseOutcome::kClosed, "closed");
        ++*closed;
      });
    }
    me->Request(To::Slot(1), "echo", "x", kLong, [&](Response& response) {
      me.Check(response.data() == "echo x", "data before");
      me.worker.reset();
      me.Check(response.data() == "echo x", "data stays until the callback returns");
    });
    me.Run();
  });
  family.ExpectExit(self, 0);
  // Its end is waited for: the Family's own would overtake it.
  ASSERT_TRUE(family.Until([&] { return *closed == 5 && family.exits.size() == 1; }));
}

TEST(RequestEnds, WithAResponseAlsoWhileTheOtherCloses) {
  Told told;
  Shared<Count> taken;
  Family family(FamilyOf(1, 4096));
  const Peer worker = family.Spawn([&](Member& me) {
    auto token = std::make_shared<ResponseToken>();
    me->Receive("ask", [&, token](Alert& alert) {
      *token = alert.TakeResponseToken();
      // Something to close for: the master reads it late.
      while (me->Send(To::Master(), "fill", std::string(3000, 'x')).outcome() != Outcome::kQueued)
        continue;
      me.Check(me->Close(absl::Seconds(60)).ok(), "closing");
      me.Check(absl::IsFailedPrecondition(me->Send(To::Master(), "x").status()), "no more sends");
      me.Check(token->Respond("last words").ok(), "but responses");
      ++*taken;
    });
    me.Run();
  });
  family.ExpectExit(worker, 0);
  ASSERT_TRUE(family->Request(worker, "ask", "", kLong, told.Callback()).ok());
  ASSERT_TRUE(Eventually([&] { return *taken == 1; }));
  ASSERT_TRUE(family.Until([&] { return told.count() == 1; }));
  EXPECT_EQ(told.data[0], "last words");
  ASSERT_TRUE(family.Until([&] { return !family.exits.empty(); }));
}

// ---- Completing twice ---------------------------------------------------------------------------

TEST(Respond, CompletesOnce) {
  Told told;
  Shared<Count> checked;
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn([&](Member& me) {
    me->Receive("twice", [&](Alert& alert) {
      me.Check(alert.Respond("first").ok(), "first");
      me.Check(absl::IsFailedPrecondition(alert.Respond("second").status()), "second");
      me.Check(!alert.TakeResponseToken().open(), "no token is left");
      ++*checked;
    });
    me->Receive("token", [&](Alert& alert) {
      ResponseToken token = alert.TakeResponseToken();
      me.Check(token.open() && token.sender() == alert.sender(), "open");
      me.Check(absl::IsFailedPrecondition(alert.Respond("by the alert").status()), "taken");
      ResponseToken moved = std::move(token);
      me.Check(!token.open(), "moved from");  // NOLINT(bugprone-use-after-move)
      me.Check(moved.Respond("by the token").ok(), "token");
      me.Check(absl::IsFailedPrecondition(moved.Respond("again").status()), "again");
      ++*checked;
    });
    me->Receive("plain", [&](Alert& alert) {
      me.Check(!alert.is_request(), "no request");
      me.Check(absl::IsFailedPrecondition(alert.Respond("x").status()), "nobody waits");
      me.Check(!alert.TakeResponseToken().open(), "no token");
      ++*checked;
    });
    me.Run();
  });
  ASSERT_TRUE(family->Request(worker, "twice", "", kLong, told.Callback()).ok());
  ASSERT_TRUE(family->Request(worker, "token", "", kLong, told.Callback()).ok());
  ASSERT_TRUE(family->Send(worker, "plain").ok());
  ASSERT_TRUE(family.Until([&] { return told.count() == 2 && *checked == 3; }));
  EXPECT_EQ(told.data, (std::vector<std::string>{"first", "by the token"}));
}

TEST(Respond, MayBeTriedAgainWhenTheQueueWasFull) {
  Told told;
  Shared<Count> refused;
  MasterOptions options = FamilyOf(2, 4096);
  options.queued_bytes_per_peer_max = 40960;
  Family family(options);
  // The requester stops reading until the responder has been refused.
  const Peer responder = family.Spawn([&](Member& me) {
    auto token = std::make_shared<ResponseToken>();
    me->Receive("ask", [&, token](Alert& alert) {
      while (me->Send(alert.sender(), "fill", std::string(3000, 'x')).ok()) continue;
      const SendResult sent = alert.Respond(std::string(3000, 'n'));
      me.Check(absl::IsResourceExhausted(sent.status()), "full");
      *token = alert.TakeResponseToken();
      me.Check(token->open(), "not completed");
      ++*refused;
    });
    me->OnDrained([&, token](const Peer&) {
      if (token->open()) me.Check(token->Respond("again").ok(), "room again");
    });
    me.Run();
  });
  ASSERT_TRUE(family->Request(responder, "ask", "", kLong, told.Callback()).ok());
  ASSERT_TRUE(Eventually([&] { return *refused == 1; }));
  ASSERT_TRUE(family.Until([&] { return told.count() == 1; }));
  EXPECT_EQ(told.data[0], "again");
}

// ---- Refusals -----------------------------------------------------------------------------------

TEST(RequestRefused, NeverCallsItsCallback) {
  Told told;
  Family family(FamilyOf(2));
  const Peer worker = family.Spawn(Responder);
  const auto refused = [&](const SendResult& result, StatusCode code,
                           std::initializer_list<std::string> texts = {}) {
    EXPECT_TRUE(Says(result.status(), code, texts));
    EXPECT_EQ(result.outcome(), Outcome::kRefused);
  };
  refused(family->Request(To::Slot(2), "x", "", kLong, told.Callback()), StatusCode::kUnavailable);
  refused(family->Request(To::Slot(7), "x", "", kLong, told.Callback()), StatusCode::kNotFound);
  refused(family->Request(worker, std::string(255, 'x'), "", kLong, told.Callback()),
          StatusCode::kInvalidArgument, {"254", "255"});
  refused(family->Request(worker, "x", "", absl::ZeroDuration(), told.Callback()),
          StatusCode::kInvalidArgument, {"deadline", "0"});
  refused(family->Request(worker, "x", "", -absl::Seconds(1), told.Callback()),
          StatusCode::kInvalidArgument, {"deadline", "-1s"});
  refused(family->Request(worker, "x", "", kLong, nullptr), StatusCode::kInvalidArgument,
          {"callback"});
  family.Turns(20);
  EXPECT_EQ(told.count(), 0u);
  EXPECT_EQ(family->stats().requests_sent, 0u);
  EXPECT_EQ(family->stats().alerts_refused, 6u);
}

TEST(RequestRefused, BeyondTheLimitOfOpenOnes) {
  Family family(FamilyOf(1));
  const Peer worker = family.Spawn(Responder);
  std::uint64_t ended = 0;
  std::uint64_t accepted = 0;
  family.InTurn([&] {
    absl::Status status;
    while (accepted <= kRequestsPerPeerMax) {
      status = family->Request(worker, "echo", "", kLong, [&](Response&) { ++ended; }).status();
      if (!status.ok()) break;
      ++accepted;
    }
    EXPECT_TRUE(Says(status, StatusCode::kResourceExhausted, {"65536", "slot 1"}));
  });
  EXPECT_EQ(accepted, kRequestsPerPeerMax);
  ASSERT_TRUE(family.Until([&] { return ended == accepted; }));
  EXPECT_TRUE(family->Request(worker, "echo", "", kLong, [&](Response&) { ++ended; }).ok());
  ASSERT_TRUE(family.Until([&] { return ended == accepted + 1; }));
}

// ---- Gather -------------------------------------------------------------------------------------

TEST(Gather, TellsOneOutcomePerPeerAndThenThatItIsDone) {
  Told told;
  Family family(FamilyOf(5));
  for (int i = 0; i < 5; ++i) family.Spawn(Responder);
  int done = 0;
  const BroadcastResult sent = family->Gather("echo", "all", kLong, told.Callback(), [&] {
    EXPECT_EQ(told.count(), 5u);
    ++done;
  });
  EXPECT_EQ(sent.accepted, 5u);
  EXPECT_EQ(told.count(), 0u);
  ASSERT_TRUE(family.Until([&] { return done == 1; }));
  std::set<int> slots;
  for (const Peer& peer : told.peers) slots.insert(peer.slot);
  EXPECT_EQ(slots.size(), 5u);
  for (const std::string& data : told.data) EXPECT_EQ(data, "echo all");
  family.Turns(5);
  EXPECT_EQ(done, 1);
}

TEST(Gather, GoesOnWhenAWorkerDies) {
  Told told;
  Family family(FamilyOf(4));
  std::vector<Peer> workers;
  for (int i = 0; i < 4; ++i) workers.push_back(family.Spawn(Responder));
  ASSERT_TRUE(family.Ready());
  bool done = false;
  ASSERT_TRUE(family.Stop(workers[1]));
  ASSERT_TRUE(
      family->Gather("echo", Pattern(20000, 1), kLong, told.Callback(), [&] { done = true; }).ok());
  ASSERT_TRUE(family.Until([&] { return told.count() == 3; }));
  EXPECT_FALSE(done);
  ASSERT_TRUE(family.KillAndReap(workers[1]));
  ASSERT_TRUE(family.Until([&] { return done; }));
  EXPECT_EQ(told.count(), 4u);
  EXPECT_EQ(told.outcomes[3], ResponseOutcome::kPeerDied);
  EXPECT_EQ(told.peers[3], workers[1]);
}

TEST(Gather, TellsWhoRefused) {
  Told told;
  MasterOptions options = FamilyOf(3, 4096);
  options.queued_bytes_per_peer_max = 20480;
  Family family(options);
  family.Spawn(Responder);
  const Peer deaf = family.SpawnDeaf(Responder);
  family.Spawn(Responder);
  while (family->Send(deaf, "ignored", std::string(3000, 'x')).ok()) continue;
  bool done = false;
  const BroadcastResult sent =
      family->Gather("echo", std::string(3000, 'y'), kLong, told.Callback(), [&] { done = true; });
  EXPECT_EQ(sent.accepted, 2u);
  EXPECT_EQ(sent.refused.size(), 1u);
  ASSERT_TRUE(family.Until([&] { return done; }));
  ASSERT_EQ(told.count(), 3u);
  int refused = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    if (told.outcomes[i] != ResponseOutcome::kRefused) continue;
    ++refused;
    EXPECT_EQ(told.peers[i], deaf);
    EXPECT_TRUE(
        Says(told.statuses[i], StatusCode::kResourceExhausted, {"queued_bytes_per_peer_max"}));
  }
  EXPECT_EQ(refused, 1);
  family.Wake(deaf);
}

TEST(Gather, OfNobodyIsDoneInALaterTurn) {
  Family family(FamilyOf(1));
  bool done = false;
  const BroadcastResult sent = family->Gather(
      "echo", "", kLong, [](Response&) { FAIL() << "nobody was asked"; }, [&] { done = true; });
  EXPECT_TRUE(sent.ok());
  EXPECT_EQ(sent.accepted, 0u);
  EXPECT_FALSE(done);
  ASSERT_TRUE(family.Until([&] { return done; }));
}

TEST(Gather, IsDoneAlsoIfACallbackThrows) {
  Family family(FamilyOf(2));
  for (int i = 0; i < 2; ++i) family.Spawn(Responder);
  int errors = 0;
  family->OnHandlerError([&](const HandlerError& error) {
    EXPECT_EQ(error.name, "");
    ++errors;
  });
  bool done = false;
  ASSERT_TRUE(family
                  ->Gather(
                      "echo", "", kLong, [](Response&) { throw std::runtime_error("on purpose"); },
                      [&] { done = true; })
                  .ok());
  ASSERT_TRUE(family.Until([&] { return done; }));
  EXPECT_EQ(errors, 2);
}

TEST(Gather, RefusedAsAWholeCallsNothing) {
  Family family(FamilyOf(1));
  family.Spawn(Responder);
  const auto never = [](Response&) { FAIL(); };
  EXPECT_TRUE(Says(family->Gather(std::string(300, 'x'), "", kLong, never, [] { FAIL(); }).status(),
                   StatusCode::kInvalidArgument));
  EXPECT_TRUE(Says(family->Gather("x", "", absl::ZeroDuration(), never).status(),
                   StatusCode::kInvalidArgument));
  EXPECT_TRUE(Says(family->Gather("x", "", kLong, nullptr).status(), StatusCode::kInvalidArgument));
  family.Turns(10);
}

// ---- Waiting for workers ------------------------------------------------------------------------

TEST(WhenWorkers, TellsWhenThereAreEnough) {
  Family family(FamilyOf(3));
  std::vector<absl::Status> told;
  const auto tell = [&](const absl::Status& status) { told.push_back(status); };
  ASSERT_TRUE(family->WhenWorkers(0, kLong, tell).ok());
  EXPECT_TRUE(told.empty()) << "from the loop";
  ASSERT_TRUE(family.Until([&] { return told.size() == 1; }));
  ASSERT_TRUE(family->WhenWorkers(2, kLong, tell).ok());
  family.Spawn(Responder);
  family.Turns(20);
  EXPECT_EQ(told.size(), 1u);
  family.Spawn(Responder);
  ASSERT_TRUE(family.Until([&] { return told.size() == 2; }));
  EXPECT_TRUE(told[0].ok() && told[1].ok());
}

// A reserved slot is nobody yet; its worker is told as joined once it is confirmed.
TEST(WhenWorkers, DoesNotCountAReservedSlot) {
  Family family(FamilyOf(2));
  std::vector<absl::Status> told;
  ASSERT_TRUE(
      family->WhenWorkers(1, kLong, [&](const absl::Status& status) { told.push_back(status); })
          .ok());
  absl::StatusOr<Slot> slot = family->Reserve();
  ASSERT_TRUE(slot.ok());
  family.Turns(20);
  EXPECT_TRUE(told.empty());
  ASSERT_TRUE(family->Cancel(slot->number()).ok());
  family.Spawn(Responder);
  ASSERT_TRUE(family.Until([&] { return told.size() == 1; }));
  EXPECT_TRUE(told[0].ok());
}

TEST(WhenWorkers, TellsAWorkerOfItsFamily) {
  Shared<Count> ready;
  Family family(FamilyOf(3));
  const auto body = [&](Member& me) {
    me->WhenWorkers(3, kLong, [&](const absl::Status& status) {
      me.Check(status.ok(), "all are there");
      me.Check(me->Workers().size() == 3, "and known");
      ++*ready;
    });
    me.Run();
  };
  for (int i = 0; i < 3; ++i) family.Spawn(body);
  ASSERT_TRUE(family.Until([&] { return *ready == 3; }));
}

TEST(WhenWorkers, EndsAtItsDeadlineOrWithTheEndpoint) {
  Family family(FamilyOf(2));
  std::vector<absl::Status> told;
  const auto tell = [&](const absl::Status& status) { told.push_back(status); };
  ASSERT_TRUE(family->WhenWorkers(1, absl::Milliseconds(20), tell).ok());
  ASSERT_TRUE(family.Until([&] { return told.size() == 1; }));
  EXPECT_TRUE(Says(told[0], StatusCode::kDeadlineExceeded, {"1 workers", "0 live"}));
  ASSERT_TRUE(family->WhenWorkers(1, kLong, tell).ok());
  bool closed = false;
  ASSERT_TRUE(family->Close(absl::Seconds(1), [&](const CloseReport&) { closed = true; }).ok());
  ASSERT_TRUE(family.Until([&] { return closed && told.size() == 2; }));
  EXPECT_TRUE(Says(told[1], StatusCode::kCancelled));
}

TEST(WhenWorkers, RefusesWhatMakesNoSense) {
  Family family(FamilyOf(2));
  const auto never = [](const absl::Status&) { FAIL(); };
  EXPECT_TRUE(Says(family->WhenWorkers(3, kLong, never), StatusCode::kInvalidArgument,
                   {"0 to 2", "was 3"}));
  EXPECT_TRUE(Says(family->WhenWorkers(-1, kLong, never), StatusCode::kInvalidArgument, {"-1"}));
  EXPECT_TRUE(Says(family->WhenWorkers(1, kLong, nullptr), StatusCode::kInvalidArgument));
  EXPECT_TRUE(
      Says(family->WhenWorkers(1, absl::ZeroDuration(), never), StatusCode::kInvalidArgument));
  family.Turns(5);
}

}  // namespace
}  // namespace alertpipe::process
