// SPDX-License-Identifier: Apache-2.0
//
// Events where memory is short for a while.
#include <memory>
#include <string>
#include <utility>

#include "../core/memory_faults.h"
#include "family.h"

namespace alertpipe::process {
namespace {

struct Seen {
  Count go;
  Count owed;
  Count handled;
  Count gaps;
};

std::unique_ptr<Events> AttachTo(Member& me, EventsOptions options = {}) {
  auto events = Events::Attach(me.worker.get(), std::move(options));
  me.Check(events.ok(), events.status().ToString());
  return *std::move(events);
}

// Nothing is queued for anybody, so no queue that empties tells when to try again, and the
// publisher has nothing more to say.
TEST(EventsMemory, AGapIsToldOnceMemoryIsThereAgain) {
  for (const bool ordered : {false, true}) {
    Shared<Seen> seen;
    MasterOptions options = FamilyOf(2);
    options.events.emplace();
    Family family(options);
    family.Spawn([&](Member& me) {
      const std::unique_ptr<Events> events = AttachTo(me);
      (void)events->Subscribe(
          "s", "e", [&](const Event&) { ++seen->handled; },
          [&](const Gap& gap) { seen->gaps += gap.count; });
      (void)events->Ready();
      me.Run();
    });
    family.Spawn([&](Member& me) {
      EventsOptions rules;
      rules.rules.push_back({"s", "e", ordered, Overflow::kGap});
      const std::unique_ptr<Events> events = AttachTo(me, std::move(rules));
      me.Every(1, [&] {
        if (seen->go == 0 || seen->owed != 0) return;
        core::MemoryFaults faults;
        faults.Fail(1, 1000);
        const PublishResult result = events->Publish(Audience::Others(), "s", "e", "data");
        me.Check(result.gaps == 1 && result.accepted == 0, "there was memory");
        ++seen->owed;
      });
      me.Run();
    });
    ASSERT_TRUE(family.Ready());
    seen->go = 1;
    EXPECT_TRUE(family.Until([&] { return seen->gaps == 1; }));
    EXPECT_EQ(seen->owed, 1u);
    EXPECT_EQ(seen->handled, 0u);
  }
}

}  // namespace
}  // namespace alertpipe::process
