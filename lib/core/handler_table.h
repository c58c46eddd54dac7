// SPDX-License-Identifier: Apache-2.0
//
// Handlers by name. A handler may replace or remove itself, or clear the whole table, while it
// runs: what is running is kept until it has returned.
#ifndef ALERTPIPE_CORE_HANDLER_TABLE_H_
#define ALERTPIPE_CORE_HANDLER_TABLE_H_

#include <alertpipe/alert.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <absl/container/flat_hash_map.h>

#include "core/bytes.h"
#include "core/check.h"

namespace alertpipe::core {

class HandlerTable {
 public:
  // A null handler removes.
  void Set(std::string_view name, Handler handler);
  void SetDefault(Handler handler);
  bool Remove(std::string_view name);
  // Until `name` has a handler of its own it has none: the default one does not count.
  void Withhold(std::string_view name);
  void Clear();

  // The handler for `name`, else the default one, else null. It stays valid until End, whatever
  // happens to the table.
  Handler* Begin(std::string_view name) {
    ALERTPIPE_CHECK(running_ == nullptr, "a handler was called inside a handler");
    if (last_name_ != nullptr && SameBytes(*last_name_, name)) return running_ = last_;
    return running_ = Find(name);
  }
  void End() {
    running_ = nullptr;
    if (retired_ != nullptr) DropRetired();
  }

 private:
  using Owned = std::unique_ptr<Handler>;
  Handler* Find(std::string_view name);
  void Retire(Owned handler);
  void DropRetired();

  absl::flat_hash_map<std::string, Owned> by_name_;
  // The last one that was found: many alerts in a row have the same name. Null when it may be
  // stale.
  const std::string* last_name_ = nullptr;
  Handler* last_ = nullptr;
  Owned default_;
  Handler* running_ = nullptr;
  Owned retired_;  // the running one, if it has been removed
};

}  // namespace alertpipe::core

#endif  // ALERTPIPE_CORE_HANDLER_TABLE_H_
