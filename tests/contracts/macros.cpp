// SPDX-License-Identifier: MIT
//
// Every header after a list of macros that other libraries leave defined. What they stand for is no C++, so that one
// that meets an identifier of ours does not compile. The standard headers come first, as they do where it goes well in
// practice: those of some names in the list do not stand it either.

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <istream>
#include <iterator>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>
#include <version>
#if __has_include(<stop_token>)
#include <stop_token>
#endif
#if __has_include(<cxxabi.h>)
#include <cxxabi.h>
#endif
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#endif
#if defined(__APPLE__)
#include <crt_externs.h>
#endif
#if defined(_MSC_VER)
#include <intrin.h>
#endif
#if __has_include(<fmt/format.h>)
#define FMT_HEADER_ONLY
#include <fmt/format.h>
#define TIDEFALL_TEST_FMT
#endif

// Qt: qtmetamacros.h, qforeach.h
#define signals @
#define slots @
#define emit @
#define foreach(a, b) @
#define forever @
#define SIGNAL(a) @
#define SLOT(a) @
#define METHOD(a) @

// windows.h and what it includes, without NOMINMAX
#define min(a, b) @
#define max(a, b) @
#define near @
#define far @
#define NEAR @
#define FAR @
#define small @
#define hyper @
#define interface @
#define cdecl @
#define pascal @
#define IN @
#define OUT @
#define OPTIONAL @
#define CONST @
#define VOID @
#define TRUE @
#define FALSE @
#define THIS @
#define PURE @
#define STRICT @
#define CALLBACK @
#define ERROR @
#define NO_ERROR @
#define IGNORE @
#define INFINITE @
#define DELETE @
#define SYNCHRONIZE @
#define ABSOLUTE @
#define RELATIVE @
#define DIFFERENCE @
#define TRANSPARENT @
#define OPAQUE @
#define ALTERNATE @
#define WINDING @
#define FAILED(a) @
#define SUCCEEDED(a) @
#define Yield() @
#define GetCurrentTime() @
#define GetFreeSpace(a) @
#define GetObject @
#define GetMessage @
#define SendMessage @
#define CreateWindow @
#define CreateFile @
#define CreateEvent @
#define CreateMutex @
#define DeleteFile @
#define CopyFile @
#define MoveFile @
#define FindWindow @
#define LoadImage @
#define DrawText @
#define ReportEvent @
#define StartService @
#define GetClassName @
#define GetUserName @
#define GetCommandLine @
#define CopyMemory(a, b, c) @
#define MoveMemory(a, b, c) @
#define FillMemory(a, b, c) @
#define ZeroMemory(a, b) @
#define h_addr @
#define s_addr @
#define rad1 @
#define chk1 @
#define lst1 @
#define cmb1 @
#define edt1 @
#define grp1 @

// X11: X.h, Xlib.h
#define None @
#define Bool @
#define Status @
#define True @
#define False @
#define Always @
#define Success @
#define Above @
#define Below @
#define Unsorted @
#define YSorted @
#define Complex @
#define Convex @
#define Nonconvex @
#define CursorShape @
#define KeyPress @
#define KeyRelease @
#define FocusIn @
#define FocusOut @
#define Expose @
#define Opposite @
#define WhenMapped @
#define NotUseful @
#define CurrentTime @
#define AnyKey @
#define AnyModifier @
#define AllocNone @
#define AllocAll @
#define DestroyAll @
#define EnableAccess @
#define DisableAccess @
#define BadRequest @
#define BadValue @
#define BadMatch @
#define BadAccess @
#define BadAlloc @
#define BadName @
#define BadLength @
#define GrayScale @
#define LSBFirst @
#define AllValues @
#define InputHint @
#define StateHint @

// curses.h: all but box, clear, erase, move and refresh, which it takes back in C++, as the standard library has them
#define addch(a) @
#define addstr(a) @
#define attroff(a) @
#define attron(a) @
#define attrset(a) @
#define bkgd(a) @
#define border(a, b, c, d, e, f, g, h) @
#define chgat(a, b, c, d) @
#define clrtobot() @
#define clrtoeol() @
#define delch() @
#define deleteln() @
#define echochar(a) @
#define getch() @
#define getstr(a) @
#define getyx(a, b, c) @
#define hline(a, b) @
#define inch() @
#define insch(a) @
#define insdelln(a) @
#define insertln() @
#define insstr(a) @
#define instr(a) @
#define redrawwin(a) @
#define scrl(a) @
#define scroll(a) @
#define setscrreg(a, b) @
#define standend() @
#define standout() @
#define timeout(a) @
#define touchline(a, b, c) @
#define touchwin(a) @
#define untouchwin(a) @
#define vline(a, b) @
#define ERR @
#define OK @

// term.h
#define columns @
#define lines @
#define tab @
#define bell @
#define newline @
#define buttons @
#define init_tabs @
#define label_off @
#define pad_char @
#define reset_file @
#define user0 @
#define has_meta_key @
#define no_pad_char @
#define max_attributes @
#define row_address @
#define column_address @
#define scroll_forward @

// macOS: AssertMacros.h, objc.h, sys/param.h
#define check(a) @
#define check_noerr(a) @
#define check_string(a, b) @
#define verify(a) @
#define verify_noerr(a) @
#define require(a, b) @
#define require_noerr(a, b) @
#define require_action(a, b, c) @
#define require_quiet(a, b) @
#define debug_string(a) @
#define nil @
#define Nil @
#define YES @
#define NO @
#define isset(a, b) @
#define isclr(a, b) @
#define setbit(a, b) @
#define clrbit(a, b) @
#define howmany(a, b) @
#define roundup(a, b) @
#define powerof2(a) @

// Arduino.h
#define word(...) @
#define bit(a) @
#define bitRead(a, b) @
#define bitSet(a, b) @
#define bitClear(a, b) @
#define bitWrite(a, b, c) @
#define constrain(a, b, c) @
#define degrees(a) @
#define radians(a) @
#define sq(a) @
#define lowByte(a) @
#define highByte(a) @
#define interrupts() @
#define noInterrupts() @
#define abs(a) @
#define round(a) @
#define _BV(a) @
#define F(a) @
#define B0 @
#define B1 @
#define B00 @
#define B01 @
#define HIGH @
#define LOW @
#define INPUT @
#define OUTPUT @
#define PI @
#define EULER @
#define SERIAL @
#define DISPLAY @
#define CHANGE @
#define FALLING @
#define RISING @
#define DEFAULT @
#define INTERNAL @
#define EXTERNAL @

// The C library's sys/sysmacros.h and complex.h, and what g++ -std=gnu++20 predefines
#undef major
#define major(a) @
#undef minor
#define minor(a) @
#undef makedev
#define makedev(a, b) @
#undef I
#define I @
#undef complex
#define complex @
#undef unix
#define unix @
#undef linux
#define linux @
#undef i386
#define i386 @

// Logging, testing, GLib, Unreal
#define CHECK(a) @
#define REQUIRE(a) @
#define SECTION(a) @
#define LOG(a) @
#define INFO @
#define WARN @
#define WARNING @
#define FATAL @
#define FAIL @
#define DEBUG @
#define ASSERT(a) @
#define ABS(a) @
#define CLAMP(a, b, c) @
#define MIN(a, b) @
#define MAX(a, b) @
#define TEXT(a) @
#define ensure(a) @
#define checkf(a, b) @

// clang-format off
#include <tidefall/version.hpp>
#include <tidefall/tidefall.hpp>
#if defined(TIDEFALL_TEST_FMT)
#include <tidefall/format.hpp>
#include <tidefall/log_telemetry.hpp>
#endif
// clang-format on

namespace {

using namespace std::chrono_literals;

struct hook final : tidefall::telemetry_hook {
    std::atomic<int> ends{0};
    void on_processing_stop(tidefall::processing_stop const&) override { ++ends; }
};

struct named : tidefall::definition<named, tidefall::queue<int>> {
    static constexpr std::string_view environment = "TIDEFALL_TEST_MACROS";
};

int delivered = 0;

void count(std::span<int> batch) {
    delivered += static_cast<int>(batch.size());
}

void queues(tidefall::options const& how) {
    std::vector<int> const several{1, 2, 3};
    tidefall::queue<int> items(how, count, [](std::span<int>, tidefall::failure const&) {});
    items.push(1);
    items.push(1, tidefall::partition_key{"key"});
    items.emplace(2);
    items.push_range(several);
    items.push_range(several, tidefall::partition_by{[](int n) { return n; }});
    items.update_options({.processing_batch_size = 2, .capacity = 100});
    items.flush();
    tidefall::queue<int, tidefall::producer_order> striped(how, count);
    striped.push_range(several);
    tidefall::queue<int, tidefall::sorted_by<std::identity{}>> sorted(how, count);
    sorted.push(3);
    tidefall::queue<int, tidefall::sorted_by_key<int>> keyed(
        how, [](tidefall::queue_table<int> all) { delivered += static_cast<int>(all.size()); });
    keyed.push(3, tidefall::sort_key{1});
    keyed.push_range(several, tidefall::sort_key_by{[](int n) { return -n; }});
    items.stop();
}

void maps(tidefall::options const& how) {
    using table = tidefall::hash_map_table<std::string, int>;
    tidefall::hash_map<std::string, int> map(how, [](table all) {
        if (all.find("a") != all.end()) delivered += static_cast<int>(all.size());
    });
    map.put("a", 1);
    map.put_newer("a", 2, 3);
    map.put_newer("b", 2);
    map.update("a", [](int& value) { ++value; });
    map.update("a", 7, [](int& value) { ++value; });
    map.put_all(std::map<std::string, int>{{"c", 1}});
    map.put_all_newer(std::vector<std::tuple<std::string, int, std::uint64_t>>{{"c", 1, 2}});
    map.get("a");
    map.get_or("d", 1);
    map.contains("a");
    map.erase("b");
    map.stop(1s);
}

}  // namespace

int main() {
    auto const heard = std::make_shared<hook>();
    auto const metrics = std::make_shared<tidefall::metrics_telemetry>();
    auto const clock = tidefall::make_manual_runtime();
    tidefall::options const how{
        .name = "macros", .partitions = 1, .telemetry = tidefall::combine(heard, metrics), .runtime = clock};
    queues(how);
    maps(how);

    tidefall::queue<int> wrapped(how, tidefall::serialised(tidefall::with_retry([](std::span<int const>) {})));
    wrapped.push(1);
    clock->advance(5s);
    auto const path = std::filesystem::temp_directory_path() / "tidefall_macros.spill";
    {
        tidefall::queue<int> spilling(how, tidefall::with_spill([](std::span<int const>) { throw 1; }, path,
                                                                [](int n) { return std::to_string(n); }));
        spilling.push(1);
    }
    std::filesystem::remove(path);
    tidefall::registry<tidefall::queue<int>> all(tidefall::runtime_options{.workers = 1});
    all.start("one", {}, count)->push(1);
    all.stop_all();
    named::start(count, {.partitions = 1}).push(1);
    named::stop();
#if defined(TIDEFALL_TEST_FMT)
    auto const text = fmt::format("{} {}", tidefall::write_status::accepted, wrapped.stats());
    tidefall::queue<int> logged(
        {.telemetry = tidefall::make_log_telemetry([](tidefall::log_level, std::string_view) {})}, count);
#endif
    return heard->ends > 0 && delivered > 0 && !metrics->prometheus().empty() ? 0 : 1;
}
