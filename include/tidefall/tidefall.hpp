// SPDX-License-Identifier: MIT
//
// All of the library that needs nothing but the standard library.
#pragma once

#include <tidefall/async_batch.hpp>
#include <tidefall/buffer.hpp>
#include <tidefall/decorators.hpp>
#include <tidefall/definition.hpp>
#include <tidefall/environment.hpp>
#include <tidefall/hash_map.hpp>
#include <tidefall/hash_map_table.hpp>
#include <tidefall/manual_runtime.hpp>
#include <tidefall/metrics_telemetry.hpp>
#include <tidefall/open_spill.hpp>
#include <tidefall/options.hpp>
#include <tidefall/partition.hpp>
#include <tidefall/processor.hpp>
#include <tidefall/queue.hpp>
#include <tidefall/queue_table.hpp>
#include <tidefall/registry.hpp>
#include <tidefall/results.hpp>
#include <tidefall/runtime.hpp>
#include <tidefall/spill.hpp>
#include <tidefall/string_hash.hpp>
#include <tidefall/table.hpp>
#include <tidefall/tags.hpp>
#include <tidefall/telemetry.hpp>
#include <tidefall/version.hpp>
