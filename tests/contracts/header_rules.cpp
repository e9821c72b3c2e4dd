// SPDX-License-Identifier: MIT
//
// Rules about the text of the headers that no compiler checks.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

int faults = 0;

void fault(std::filesystem::path const& file, std::size_t line, std::string const& what) {
    std::printf("%s:%zu: %s\n", file.string().c_str(), line, what.c_str());
    ++faults;
}

/// The code of a line, without its comment.
std::string code_of(std::string const& line) {
    return line.substr(0, line.find("//"));
}

/// Where a label like [stripe] stands in a comment that says "acquires" or "releases", or both in one.
struct label {
    bool acquired = false;
    bool released = false;
    std::filesystem::path file;
    std::size_t line = 0;
};

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) return 2;
    std::map<std::string, label> labels;
    std::regex const names_sync(R"(\bstd::(atomic|mutex|timed_mutex|condition_variable|thread|jthread|lock_guard|)"
                                R"(unique_lock|scoped_lock|this_thread|counting_semaphore|binary_semaphore|latch|)"
                                R"(barrier|call_once|atomic_thread_fence)\b)");
    std::regex const fence(R"(atomic_thread_fence|atomic_signal_fence|timed_mutex)");
    std::regex const literal(R"("[^"]*")");
    std::regex const min_or_max(R"(::(min|max)\()");
    std::regex const atomic_call(R"([._>](load|store|exchange|fetch_\w+|compare_exchange_\w+)\()");
    std::regex const macro(R"(^\s*#\s*(define|undef)\s+(\w+))");
    std::regex const named_label(R"(\[([a-z][a-z ]*)\])");
    std::size_t files = 0;
    for (auto const& entry : std::filesystem::recursive_directory_iterator(arguments[1])) {
        if (entry.path().extension() != ".hpp") continue;
        ++files;
        std::ifstream in(entry.path());
        std::vector<std::string> lines;
        for (std::string line; std::getline(in, line);) lines.push_back(line);
        bool const is_sync = entry.path().filename() == "sync.hpp";
        bool const is_biased_lock = entry.path().filename() == "biased_lock.hpp";
        bool const is_options = entry.path().filename() == "options.hpp";

        if (lines.empty() || lines[0] != "// SPDX-License-Identifier: MIT") fault(entry.path(), 1, "no SPDX line");
        if (std::find(lines.begin(), lines.end(), "#pragma once") == lines.end()) {
            fault(entry.path(), 1, "no #pragma once");
        }
        std::map<std::string, std::size_t> macros;
        for (std::size_t i = 0; i < lines.size(); ++i) {
            std::smatch directive;
            if (std::regex_search(lines[i], directive, macro)) {
                macros[directive[2]] = directive[1] == "define" ? i + 1 : 0;
            }
            auto const code = code_of(lines[i]);
            // biased_lock.hpp has one for the compiler, and says why that is enough.
            if (std::regex_search(code, fence) &&
                !(is_biased_lock && code.find("atomic_signal_fence") != std::string::npos)) {
                fault(entry.path(), i + 1, "a fence or a timed mutex");
            }
            // windows.h has macros of these names, which no parenthesis follows in (std::min)(a, b).
            if (std::regex_search(std::regex_replace(code, literal, ""), min_or_max))
                fault(entry.path(), i + 1, "min or max without parentheses");
            // hardware_concurrency() apart, sync.hpp is the one place that names these.
            if (!is_sync && std::regex_search(code, names_sync) &&
                !(is_options && code.find("hardware_concurrency") != std::string::npos)) {
                fault(entry.path(), i + 1, "names what only detail/sync.hpp may name");
            }
            if (code.find("system_clock::now") != std::string::npos) fault(entry.path(), i + 1, "reads the wall clock");
            // Every order is spelled, on the line of the call or, where it is broken, soon after.
            if (std::regex_search(code, atomic_call) && code.find("tell") == std::string::npos) {
                std::string call = code;
                for (std::size_t next = i + 1; next < std::min(i + 3, lines.size()); ++next) call += lines[next];
                if (call.find("memory_order") == std::string::npos) fault(entry.path(), i + 1, "no memory order");
            }
            // What acquires and what releases name each other by a label.
            bool const both = code.find("memory_order_acq_rel") != std::string::npos;
            bool const acquires = both || code.find("memory_order_acquire") != std::string::npos;
            bool const releases = both || code.find("memory_order_release") != std::string::npos;
            if (acquires || releases) {
                std::string found;
                for (std::size_t back = 0; back <= 3 && back <= i && found.empty(); ++back) {
                    std::smatch match;
                    auto const& line = lines[i - back];
                    auto const comment = line.find("//");
                    if (comment == std::string::npos) continue;
                    std::string const text = line.substr(comment);
                    if (std::regex_search(text, match, named_label)) found = match[1];
                }
                if (found.empty()) {
                    fault(entry.path(), i + 1, "an acquire or a release without a label");
                } else {
                    auto& one = labels[found];
                    one.acquired = one.acquired || acquires;
                    one.released = one.released || releases;
                    one.file = entry.path();
                    one.line = i + 1;
                }
            }
        }
        for (auto const& [name, line] : macros) {
            if (line != 0) fault(entry.path(), line, "the macro " + name + " is left defined");
        }
    }
    for (auto const& [name, one] : labels) {
        if (!one.acquired || !one.released) fault(one.file, one.line, "[" + name + "] has one end only");
    }
    std::printf("%zu headers, %zu labels, %d faults\n", files, labels.size(), faults);
    return faults == 0 && files > 10 && !labels.empty() ? 0 : 1;
}
