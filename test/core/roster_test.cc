// SPDX-License-Identifier: Apache-2.0
#include "core/roster.h"

#include <gtest/gtest.h>

#include "heap_roster.h"

namespace alertpipe::core {
namespace {

constexpr SlotState kStates[] = {SlotState::kFree, SlotState::kStarting, SlotState::kUp,
                                 SlotState::kDraining, SlotState::kDown};

TEST(Word, PacksEveryExtreme) {
  for (const std::uint32_t generation : {0u, 1u, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
    // The kernel's PID_MAX_LIMIT is 2^22.
    for (const std::uint32_t pid : {0u, 1u, 0x8000u, 1u << 22, 0xffffffu}) {
      for (const SlotState state : kStates) {
        const RosterWord word{generation, pid, state};
        const RosterWord out = RosterWord::Unpack(word.Pack());
        EXPECT_EQ(out.generation, generation);
        EXPECT_EQ(out.pid, pid);
        EXPECT_EQ(out.state, state);
        EXPECT_TRUE(out == word);
      }
    }
  }
}

TEST(Word, FieldsDoNotSpillIntoEachOther) {
  EXPECT_EQ((RosterWord{1, 0, SlotState::kFree}).Pack(), 1ull << 32);
  EXPECT_EQ((RosterWord{0, 1, SlotState::kFree}).Pack(), 1ull << 8);
  EXPECT_EQ((RosterWord{0, 0, SlotState::kDown}).Pack(), 4u);
  EXPECT_EQ((RosterWord{0, 0xff000001, SlotState::kFree}).Pack(), 1ull << 8);
}

TEST(Word, AnUnknownStateIsDown) {
  for (std::uint64_t state = 5; state < 256; ++state) {
    EXPECT_EQ(RosterWord::Unpack(state).state, SlotState::kDown);
  }
}

TEST(Word, WhoLivesAndWhoTakesAlerts) {
  const auto word = [](SlotState state) { return RosterWord{1, 1, state}; };
  EXPECT_FALSE(word(SlotState::kFree).lives());
  EXPECT_TRUE(word(SlotState::kStarting).lives());
  EXPECT_TRUE(word(SlotState::kUp).lives());
  EXPECT_TRUE(word(SlotState::kDraining).lives());
  EXPECT_FALSE(word(SlotState::kDown).lives());
  EXPECT_FALSE(word(SlotState::kFree).takes_alerts());
  EXPECT_TRUE(word(SlotState::kStarting).takes_alerts());
  EXPECT_TRUE(word(SlotState::kUp).takes_alerts());
  EXPECT_FALSE(word(SlotState::kDraining).takes_alerts());
  EXPECT_FALSE(word(SlotState::kDown).takes_alerts());
}

TEST(Roster, EverySlotHasAWordOfItsOwn) {
  HeapRoster memory(GenerousSettings(4097));
  const Roster roster = memory.roster();
  ASSERT_EQ(roster.slots(), 4097);
  for (int slot = 0; slot < 4097; ++slot) {
    EXPECT_TRUE(roster.Get(slot) == RosterWord());
    memory.Publish(slot, static_cast<std::uint32_t>(slot) + 1, SlotState::kUp, 7);
  }
  for (int slot = 0; slot < 4097; ++slot) {
    EXPECT_EQ(roster.Get(slot).generation, static_cast<std::uint32_t>(slot) + 1);
  }
  EXPECT_TRUE(roster.has(0));
  EXPECT_TRUE(roster.has(4096));
  EXPECT_FALSE(roster.has(-1));
  EXPECT_FALSE(roster.has(4097));
  EXPECT_EQ(roster.settings().queued_bytes_max, GenerousSettings(1).queued_bytes_max);
}

TEST(Roster, WordsAndFiguresHaveMemoryOfTheirOwn) {
  for (const std::uint32_t slots : {1U, 7U, 8U, 9U, 4097U}) {
    HeapRoster roster(GenerousSettings(slots));
    Stats stats;
    for (std::uint32_t i = 0; i < slots; ++i) {
      const auto slot = static_cast<int>(i);
      roster.Publish(slot, i + 1, SlotState::kUp, i + 2);
      roster.PublishSuccessor(slot, static_cast<int>(slots - i));
      stats.alerts_accepted = i + 3;
      stats.pipe_capacity = i + 4;
      roster.Archive(slot, {i + 5, i + 6, SlotState::kDown}, stats);
    }
    for (std::uint32_t i = 0; i < slots; ++i) {
      const auto slot = static_cast<int>(i);
      EXPECT_EQ(roster.roster().Get(slot), (RosterWord{i + 1, i + 2, SlotState::kUp}));
      EXPECT_EQ(roster.roster().successor(slot), static_cast<int>(slots - i));
      const ArchivedCounters& archived = roster.roster().archived(slot);
      EXPECT_EQ(archived.generation.load(), i + 5);
      EXPECT_EQ(archived.pid.load(), i + 6);
      EXPECT_EQ(archived.Snapshot().alerts_accepted, i + 3);
      EXPECT_EQ(archived.Snapshot().pipe_capacity, i + 4);
    }
    const auto* first = reinterpret_cast<const char*>(&roster.roster().archived(0));
    const auto* last = &roster.roster().archived(static_cast<int>(slots) - 1);
    EXPECT_EQ(RosterMemory::Bytes(slots) - RosterMemory::ArchiveAt(slots),
              static_cast<std::size_t>(reinterpret_cast<const char*>(last + 1) - first));
  }
}

TEST(Roster, NobodyHasASuccessorAtFirstAndOneCanBeTakenBack) {
  HeapRoster memory(GenerousSettings(3));
  for (int slot = 0; slot < 3; ++slot) EXPECT_EQ(memory.roster().successor(slot), 0);
  memory.PublishSuccessor(1, 2);
  EXPECT_EQ(memory.roster().successor(0), 0);
  EXPECT_EQ(memory.roster().successor(1), 2);
  EXPECT_EQ(memory.roster().successor(2), 0);
  memory.PublishSuccessor(1, 0);
  EXPECT_EQ(memory.roster().successor(1), 0);
}

TEST(Roster, AnIncarnationIsDeadOnceItsSuccessorOrItsDeathIsThere) {
  HeapRoster memory(GenerousSettings(2));
  const Roster roster = memory.roster();
  EXPECT_TRUE(roster.IsDead(1, 0));
  EXPECT_FALSE(roster.IsDead(1, 1));
  for (const SlotState live : {SlotState::kStarting, SlotState::kUp, SlotState::kDraining}) {
    memory.Publish(1, 5, live, 100);
    EXPECT_TRUE(roster.IsDead(1, 4));
    EXPECT_FALSE(roster.IsDead(1, 5));
    EXPECT_FALSE(roster.IsDead(1, 6));
  }
  memory.Publish(1, 5, SlotState::kDown, 100);
  EXPECT_TRUE(roster.IsDead(1, 5));
  EXPECT_FALSE(roster.IsDead(1, 6));
}

}  // namespace
}  // namespace alertpipe::core
