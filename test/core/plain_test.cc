// SPDX-License-Identifier: Apache-2.0
//
// The way that most alerts take, SendPlain: each condition under which it may be taken, and what it
// leads to in the receiver.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "contents.h"
#include "core/bytes.h"
#include "core/endpoint.h"
#include "simulated_family.h"

namespace alertpipe::core {
namespace {

// Two workers, the first of which has an open packet for the second.
class Plain : public testing::Test {
 protected:
  explicit Plain(FamilySettings settings = GenerousSettings(3)) {
    settings.runs = 0;
    family = SimulatedFamily::WithWorkers(settings);
    Open();
  }

  void Open() {
    EXPECT_EQ(family->Send(1, To::Slot(2), "first").outcome(), Outcome::kWritten);
    EXPECT_EQ(family->Send(1, To::Slot(2), "second").outcome(), Outcome::kQueued);
  }
  bool Append(const To& to, std::string_view name = "n", std::string_view data = "data") {
    const PlainStep step = sender().SendPlain(to, name, data, &way);
    EXPECT_NE(step, PlainStep::kWrite);
    return step == PlainStep::kQueued;
  }
  bool AppendRecord(const Target& target) {
    char record[64];
    EncodePlain("n", "data", record);
    const std::string_view encoded(record, PlainSize(1, 4));
    return sender().SendPlain(target, encoded, 5, &way) == PlainStep::kQueued;
  }
  Endpoint& sender() { return family->at(1); }

  std::unique_ptr<SimulatedFamily> family;
  PlainWay way;
};

TEST_F(Plain, IsDeliveredInItsTurnAndCounted) {
  const Stats before = family->stats(1);
  EXPECT_TRUE(Append(To::Slot(2)));
  EXPECT_EQ(way.alert_id, 3u);
  EXPECT_EQ(way.slot, 2);
  Target target;
  ASSERT_TRUE(sender().Resolve(To::Slot(2), &target).ok());
  EXPECT_TRUE(AppendRecord(target));
  EXPECT_EQ(family->stats(1).alerts_accepted, before.alerts_accepted + 2);
  EXPECT_EQ(family->stats(1).bytes_accepted, before.bytes_accepted + 10);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "last").ok());
  family->EndTurn(1);
  const std::vector<Delivery> delivered = family->Deliver(2);
  ASSERT_EQ(delivered.size(), 5u);
  for (const std::size_t at : {2u, 3u}) {
    EXPECT_EQ(delivered[at].name, "n");
    EXPECT_EQ(delivered[at].data, "data");
    EXPECT_EQ(delivered[at].sender, family->PeerIn(1));
  }
  EXPECT_EQ(delivered[4].name, "last");
}

TEST_F(Plain, ByPidAndByPeer) {
  EXPECT_FALSE(Append(To::Pid(family->PeerIn(2).pid))) << "it has not been looked for yet";
  ASSERT_TRUE(family->Send(1, To::Pid(family->PeerIn(2).pid), "by pid").ok());
  EXPECT_TRUE(Append(To::Pid(family->PeerIn(2).pid)));
  EXPECT_FALSE(Append(To::Pid(family->PeerIn(1).pid)));
  EXPECT_FALSE(Append(To::Pid(-1)));
  EXPECT_TRUE(Append(family->PeerIn(2)));
  Peer other = family->PeerIn(2);
  ++other.generation;
  EXPECT_FALSE(Append(other));
}

// The roster word of a slot that nobody has ever had is 0.
TEST_F(Plain, NotToAFreeSlot) {
  SimulatedFamily one(GenerousSettings(3));
  one.Respawn(1);
  EXPECT_EQ(one.at(1).SendPlain(To::Slot(2), "n", {}, &way), PlainStep::kLook);
}

TEST_F(Plain, NotToAnybodyWhoHasToBeChosenOrIsNotThere) {
  EXPECT_FALSE(Append(To::AnyWorker()));
  for (const int slot : {-1, 3, 1000000}) EXPECT_FALSE(Append(To::Slot(slot))) << slot;
}

// The one that was asked for last may have a successor whose pid is still 0 in the roster.
TEST_F(Plain, PidZeroIsNobody) {
  ASSERT_TRUE(family->Send(1, To::Pid(family->PeerIn(2).pid), "by pid").ok());
  family->Kill(2);
  family->Bury(2);
  family->BeginRespawn(2);
  while (family->roster().Get(2).state != SlotState::kStarting) family->Step(2);
  ASSERT_EQ(family->roster().Get(2).pid, 0u);
  Open();
  EXPECT_TRUE(Append(To::Slot(2)));
  EXPECT_FALSE(Append(To::Pid(0)));
}

TEST_F(Plain, OnlyWhatMayBeSentAtAll) {
  EXPECT_FALSE(Append(To::Slot(2), std::string(255, 'n')));
  EXPECT_TRUE(Append(To::Slot(2), std::string(254, 'n')));
  EXPECT_TRUE(Append(To::Slot(2), ""));
}

TEST_F(Plain, NotWhatThePacketHasNoRoomFor) {
  const std::size_t used = kHeaderBytes + PlainSize(6, 0);
  const std::size_t room = kPacketBytesMax - used - PlainSize(1, 0);
  EXPECT_FALSE(Append(To::Slot(2), "n", MakeData(room + 1)));
  EXPECT_TRUE(Append(To::Slot(2), "n", MakeData(room)));
  EXPECT_FALSE(Append(To::Slot(2), "", "")) << "the packet is full";
  family->EndTurn(1);
  EXPECT_EQ(family->Deliver(2).size(), 3u);
}

// ---- Alone --------------------------------------------------------------------------------------

// Nothing is queued, and the turn is a new one.
class Alone : public Plain {
 protected:
  explicit Alone(const FamilySettings& settings = GenerousSettings(3)) : Plain(settings) {
    family->EndTurn(1);
    EXPECT_EQ(family->Deliver(2).size(), 2u);
  }
  PlainStep Step(const To& to, std::string_view name = "n", std::string_view data = "data") {
    return sender().SendPlain(to, name, data, &way);
  }
};

TEST_F(Alone, IsWrittenAtOnceAndCounted) {
  const Stats before = family->stats(1);
  ASSERT_EQ(Step(To::Slot(2)), PlainStep::kWrite);
  EXPECT_EQ(way.slot, 2);
  EXPECT_EQ(way.alert_id, 3u);
  EXPECT_EQ(family->stats(1).alerts_accepted, before.alerts_accepted + 1)
      << "its receiver may be the first to count it";
  family->Inject(2, std::string_view(static_cast<char*>(way.packet.iov_base), way.packet.iov_len));
  sender().WrotePlain(way);
  const Stats after = family->stats(1);
  EXPECT_EQ(after.alerts_accepted, before.alerts_accepted + 1);
  EXPECT_EQ(after.bytes_accepted, before.bytes_accepted + 5);
  EXPECT_EQ(after.alerts_written, before.alerts_written + 1);
  EXPECT_EQ(after.packets_written, before.packets_written + 1);
  EXPECT_EQ(after.writes, before.writes + 1);
  EXPECT_EQ(after.queued_bytes, 0u);
  ASSERT_TRUE(family->Send(1, To::Slot(2), "next").ok());
  family->EndTurn(1);
  const std::vector<Delivery> delivered = family->Deliver(2);
  ASSERT_EQ(delivered.size(), 2u);
  EXPECT_EQ(delivered[0].name, "n");
  EXPECT_EQ(delivered[0].data, "data");
  EXPECT_EQ(delivered[1].name, "next");
  EXPECT_EQ(family->stats(2).lost_alerts, 0u);
}

TEST_F(Alone, LeavesNoTraceWhenItIsNotWritten) {
  const Stats before = family->stats(1);
  ASSERT_EQ(Step(To::Slot(2)), PlainStep::kWrite);
  sender().NotWrotePlain(way);
  ASSERT_EQ(Step(To::Slot(2), "other"), PlainStep::kWrite);
  EXPECT_EQ(way.alert_id, 3u);
  sender().NotWrotePlain(way);
  EXPECT_EQ(family->stats(1).alerts_accepted, before.alerts_accepted);
  EXPECT_EQ(family->stats(1).bytes_accepted, before.bytes_accepted);
  EXPECT_EQ(family->Send(1, To::Slot(2), "n").alert_id(), 3u);
  EXPECT_EQ(family->Deliver(2).size(), 1u);
}

TEST_F(Alone, OnlyOnceInATurn) {
  ASSERT_EQ(family->Send(1, To::Slot(2), "n").outcome(), Outcome::kWritten);
  EXPECT_EQ(Step(To::Slot(2)), PlainStep::kLook) << "later ones of the turn share a packet";
  family->EndTurn(1);
  EXPECT_EQ(Step(To::Slot(2)), PlainStep::kWrite);
}

TEST_F(Alone, UpToAFullPacket) {
  const std::size_t room = kBodyBytesMax - PlainSize(1, 0);
  EXPECT_EQ(Step(To::Slot(2), "n", MakeData(room + 1)), PlainStep::kLook);
  ASSERT_EQ(Step(To::Slot(2), "n", MakeData(room)), PlainStep::kWrite);
  EXPECT_EQ(way.packet.iov_len, kPacketBytesMax);
}

TEST_F(Alone, NotBeforeAnythingElseThatIsToBeWritten) {
  ASSERT_TRUE(family->Barrier(1, Scope::kOthers, 1).ok());
  EXPECT_EQ(Step(To::Slot(2)), PlainStep::kLook);
  family->Settle();
  EXPECT_EQ(Step(To::Slot(2)), PlainStep::kWrite);
}

TEST_F(Alone, NotWhileThePipeIsFull) {
  sender().Blocked(2);
  EXPECT_EQ(Step(To::Slot(2)), PlainStep::kLook);
}

// The end of the queue has to be told first.
TEST_F(Alone, NotWhileSomebodyWaitsToBeTold) {
  const std::string large = MakeData(8000);
  family->pipe(2).refusals = 1;
  ASSERT_TRUE(family->Send(1, To::Slot(2), "large", large).ok());
  family->Pump(1);
  ASSERT_EQ(sender().queued_bytes(2), 0u);
  sender().BeginTurn();
  EXPECT_EQ(Step(To::Slot(2)), PlainStep::kWrite) << "it has been told";
}

TEST_F(Alone, NotToOneThatNobodyReadsFor) {
  family->pipe(2).no_reader = true;
  ASSERT_TRUE(family->Send(1, To::Slot(2), "lost").ok());
  family->EndTurn(1);
  EXPECT_EQ(Step(To::Slot(2)), PlainStep::kLook);
}

class AloneSmallCap : public Alone {
 protected:
  static FamilySettings SmallCap() {
    FamilySettings settings = GenerousSettings(3);
    settings.queued_bytes_max = 8192;
    return settings;
  }
  AloneSmallCap() : Alone(SmallCap()) {}
};

TEST_F(AloneSmallCap, NotWhereThereWouldBeNoRoomToQueueIt) {
  EXPECT_EQ(Step(To::Slot(2)), PlainStep::kWrite);
  sender().meter().ChargeQueued(4096);
  EXPECT_EQ(Step(To::Slot(2)), PlainStep::kWrite);
  sender().meter().ChargeQueued(1);
  EXPECT_EQ(Step(To::Slot(2)), PlainStep::kLook);
  sender().meter().ReleaseQueued(4097);
}

// ---- Behind others ------------------------------------------------------------------------------

TEST_F(Plain, BehindAFullPipe) {
  family->EndTurn(1);
  family->pipe(2).refusals = 2;
  ASSERT_EQ(family->Send(1, To::Slot(2), "waits").outcome(), Outcome::kQueued);
  ASSERT_TRUE(sender().blocked(2));
  family->EndTurn(1);
  EXPECT_TRUE(Append(To::Slot(2)));
  family->Pump(1);
  EXPECT_EQ(family->Deliver(2).size(), 4u);
}

TEST_F(Plain, NotToOneThatIsReplaced) {
  family->Retire(2);
  EXPECT_FALSE(Append(To::Slot(2)));
  ASSERT_TRUE(family->Send(1, To(family->PeerIn(2)), "a reply").ok());
  EXPECT_FALSE(Append(To::Slot(2))) << "a reply opens the way for nobody";
  EXPECT_FALSE(Append(family->PeerIn(2))) << "replies are looked at one by one";
}

TEST_F(Plain, NotToOneThatIsDeadOrToItsSuccessor) {
  Target before;
  ASSERT_TRUE(sender().Resolve(To::Slot(2), &before).ok());
  family->Kill(2);
  family->Bury(2);
  EXPECT_FALSE(Append(To::Slot(2)));
  family->Respawn(2);
  EXPECT_FALSE(Append(To::Slot(2)));
  Open();
  EXPECT_TRUE(Append(To::Slot(2)));
  EXPECT_FALSE(AppendRecord(before)) << "that was the predecessor";
}

TEST_F(Plain, NotToOneThatNobodyReadsFor) {
  family->pipe(2).no_reader = true;
  family->EndTurn(1);
  EXPECT_FALSE(Append(To::Slot(2)));
}

// Responses are still accepted then.
TEST_F(Plain, NotBehindAResponseAfterTheOwnLastWord) {
  family->Retire(1);
  family->Settle();
  sender().BeginDrain();
  family->Settle();
  ASSERT_FALSE(sender().CheckMaySend().ok());
  for (const std::uint64_t request : {1u, 2u})
    ASSERT_TRUE(family->Respond(1, family->PeerIn(2), request).ok());
  EXPECT_GT(sender().queued_bytes(2), 0u);
  EXPECT_FALSE(Append(To::Slot(2)));
}

// Between Accept and the write that it asks for.
TEST_F(Plain, NotWhatSomethingElseMustBeWrittenBefore) {
  family->EndTurn(1);
  sender().BeginTurn();
  Target target;
  ASSERT_TRUE(sender().Resolve(To::Slot(2), &target).ok());
  const std::string data = MakeData(2000);
  const Content content{"n", data};
  ASSERT_TRUE(sender().Accept(target, content, nullptr, false, true).idle);
  EXPECT_FALSE(Append(To::Slot(2))) << "nobody has been told to write at the end of the turn";
  ASSERT_FALSE(sender().Accept(target, content, nullptr, false, true).idle);
  EXPECT_TRUE(Append(To::Slot(2)));
  ASSERT_TRUE(sender().Accept(target, content, nullptr, false, true).write_now);
  EXPECT_FALSE(Append(To::Slot(2))) << "a full packet waits";
  sender().Blocked(2);
  EXPECT_TRUE(Append(To::Slot(2))) << "it has to";
  sender().Unblocked(2);
  family->Write(1, 2);
  EXPECT_EQ(family->Deliver(2).size(), 7u);
}

class PlainSmallCap : public Plain {
 protected:
  static FamilySettings SmallCap() {
    FamilySettings settings = GenerousSettings(3);
    settings.queued_bytes_per_peer_max = 8192;
    settings.alert_bytes_max = 100000;
    return settings;
  }
  PlainSmallCap() : Plain(SmallCap()) {}
};

// One that is handed over may exceed the cap, and has room in its last packet.
TEST_F(PlainSmallCap, NotBehindOneThatExceedsTheCap) {
  family->EndTurn(1);
  family->pipe(2).refusals = 100;
  ASSERT_TRUE(family->Send(1, To::Slot(2), "large", Buffer::Copy(MakeData(50001)).value()).ok());
  EXPECT_FALSE(Append(To::Slot(2)));
  EXPECT_TRUE(absl::IsResourceExhausted(family->Send(1, To::Slot(2), "n", "data").status()));
}

TEST(PlainBytes, AreCopiedAndComparedWhateverTheirNumber) {
  for (std::size_t bytes = 0; bytes <= 40; ++bytes) {
    const std::string from = MakeData(bytes);
    std::string to(bytes + 2, '!');
    CopyBytes(to.data() + 1, from);
    EXPECT_EQ(to, "!" + from + "!");
    EXPECT_TRUE(SameBytes(from, to.substr(1, bytes)));
    EXPECT_FALSE(SameBytes(from, from + "x"));
    for (std::size_t at = 0; at < bytes; ++at) {
      std::string other = from;
      other[at] = static_cast<char>(other[at] ^ 1);
      EXPECT_FALSE(SameBytes(from, other)) << bytes << ", " << at;
    }
  }
}

}  // namespace
}  // namespace alertpipe::core
