// SPDX-License-Identifier: Apache-2.0
//
// The texts that the library has for its enumerations: each value has one of its own, and what is
// no value is no trap.
#include <alertpipe/alertpipe.h>
#include <gtest/gtest.h>

#include <set>
#include <string_view>

namespace alertpipe {
namespace {

// Values count from 0 to `last`.
template <typename Enum>
void ExpectTexts(Enum last) {
  std::set<std::string_view> texts;
  for (int value = 0; value <= static_cast<int>(last); ++value) {
    const std::string_view text = ToString(static_cast<Enum>(value));
    EXPECT_FALSE(text.empty()) << value;
    EXPECT_NE(text, "unknown") << value;
    EXPECT_TRUE(texts.insert(text).second) << text << " is there twice";
  }
  EXPECT_EQ(ToString(static_cast<Enum>(static_cast<int>(last) + 1)), "unknown");
}

TEST(Texts, OfEachValue) {
  ExpectTexts(UndeliveredReason::kClosed);
  ExpectTexts(ResponseOutcome::kClosed);
  ExpectTexts(SlotState::kDown);
  ExpectTexts(static_cast<Diagnostic::Kind>(Diagnostic::kKinds - 1));
}

TEST(Texts, VersionIsThreeNumbers) {
  int dots = 0;
  for (const char c : Version()) {
    dots += c == '.';
    EXPECT_TRUE(c == '.' || (c >= '0' && c <= '9')) << Version();
  }
  EXPECT_EQ(dots, 2) << Version();
}

}  // namespace
}  // namespace alertpipe
