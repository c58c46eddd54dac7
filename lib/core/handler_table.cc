// SPDX-License-Identifier: Apache-2.0
#include "core/handler_table.h"

#include <utility>

#include <absl/strings/string_view.h>

namespace alertpipe::core {
namespace {

absl::string_view Key(std::string_view name) { return absl::string_view(name.data(), name.size()); }

}  // namespace

void HandlerTable::Retire(Owned handler) {
  if (handler != nullptr && handler.get() == running_) retired_ = std::move(handler);
}

void HandlerTable::Set(std::string_view name, Handler handler) {
  if (!handler) {
    Remove(name);
    return;
  }
  last_name_ = nullptr;
  Owned& entry = by_name_[std::string(name)];
  Retire(std::exchange(entry, std::make_unique<Handler>(std::move(handler))));
}

void HandlerTable::SetDefault(Handler handler) {
  Retire(
      std::exchange(default_, handler ? std::make_unique<Handler>(std::move(handler)) : nullptr));
}

bool HandlerTable::Remove(std::string_view name) {
  last_name_ = nullptr;
  const auto found = by_name_.find(Key(name));
  if (found == by_name_.end()) return false;
  Owned handler = std::move(found->second);
  by_name_.erase(found);
  Retire(std::move(handler));
  return true;
}

void HandlerTable::Withhold(std::string_view name) {
  last_name_ = nullptr;
  by_name_.try_emplace(std::string(name));
}

void HandlerTable::Clear() {
  // What handlers own may call back into the table while it is destroyed.
  last_name_ = nullptr;
  auto by_name = std::exchange(by_name_, {});
  for (auto& [name, handler] : by_name) Retire(std::move(handler));
  SetDefault(nullptr);
}

Handler* HandlerTable::Find(std::string_view name) {
  const auto found = by_name_.find(Key(name));
  if (found == by_name_.end()) return default_.get();
  last_name_ = &found->first;
  return last_ = found->second.get();
}

// What it owns may call back into the table while it is destroyed.
void HandlerTable::DropRetired() { const Owned done = std::move(retired_); }

}  // namespace alertpipe::core
