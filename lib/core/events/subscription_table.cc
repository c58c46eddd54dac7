// SPDX-License-Identifier: Apache-2.0
#include "core/events/subscription_table.h"

#include <algorithm>

namespace alertpipe::core {
namespace {

absl::string_view Key(std::string_view name) { return absl::string_view(name.data(), name.size()); }

}  // namespace

SubscriptionTable::Level* SubscriptionTable::LevelFor(std::string_view source,
                                                      std::string_view name) {
  if (source == kAny) return &any_;
  std::unique_ptr<Source>& of_source = by_source_[std::string(source)];
  if (of_source == nullptr) of_source = std::make_unique<Source>();
  if (name == kAny) return &of_source->any;
  std::unique_ptr<Level>& level = of_source->by_name[std::string(name)];
  if (level == nullptr) level = std::make_unique<Level>();
  return level.get();
}

SubscriptionId SubscriptionTable::Add(std::string_view source, std::string_view name,
                                      EventCallback on_event, GapCallback on_gap) {
  Level* level = LevelFor(source, name);
  auto one = std::make_unique<Subscription>();
  one->id = ++last_id_;
  one->source = std::string(source);
  one->name = std::string(name);
  one->on_event = std::move(on_event);
  one->on_gap = std::move(on_gap);
  level->push_back(std::move(one));
  places_[last_id_] = level;
  return last_id_;
}

SubscriptionTable::Subscription& SubscriptionTable::Get(const Level& level, SubscriptionId id) {
  return **std::find_if(level.begin(), level.end(), [&](const auto& one) { return one->id == id; });
}

void SubscriptionTable::Erase(Level* level, SubscriptionId id) {
  const auto found =
      std::find_if(level->begin(), level->end(), [&](const auto& one) { return one->id == id; });
  // What it owns may call back into the table while it is destroyed.
  const std::unique_ptr<Subscription> gone = std::move(*found);
  level->erase(found);
  if (level->empty()) ForgetIfEmpty(*gone);
}

// Nobody has subscribed to that name any more.
void SubscriptionTable::ForgetIfEmpty(const Subscription& last) {
  const auto of_source = by_source_.find(last.source);
  if (of_source == by_source_.end()) return;
  Source& source = *of_source->second;
  if (last.name != kAny) source.by_name.erase(last.name);
  if (source.any.empty() && source.by_name.empty()) by_source_.erase(of_source);
}

bool SubscriptionTable::Remove(SubscriptionId id) {
  const auto found = places_.find(id);
  if (found == places_.end()) return false;
  Level* level = found->second;
  places_.erase(found);
  if (depth_ == 0) {
    Erase(level, id);
    return true;
  }
  for (const auto& one : *level) one->removed = one->removed || one->id == id;
  swept_.emplace_back(level, id);
  return true;
}

void SubscriptionTable::Sweep() {
  while (!swept_.empty()) {
    const auto [level, id] = swept_.back();
    swept_.pop_back();
    Erase(level, id);
  }
}

void SubscriptionTable::Clear() {
  std::vector<SubscriptionId> ids;
  for (const auto& [id, level] : places_) ids.push_back(id);
  for (const SubscriptionId id : ids) Remove(id);
}

int SubscriptionTable::Find(std::string_view source, std::string_view name, Level** levels) {
  int count = 0;
  if (!any_.empty()) levels[count++] = &any_;
  const auto of_source = by_source_.find(Key(source));
  if (of_source == by_source_.end()) return count;
  if (!of_source->second->any.empty()) levels[count++] = &of_source->second->any;
  const auto of_name = of_source->second->by_name.find(Key(name));
  if (of_name != of_source->second->by_name.end()) levels[count++] = of_name->second.get();
  return count;
}

}  // namespace alertpipe::core
