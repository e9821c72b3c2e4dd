// SPDX-License-Identifier: MIT
//
// Each relative link in a document leads to a file or a folder that is there, and each anchor to a heading. README is
// one page: no more words than its readers bear.
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>

namespace {

namespace fs = std::filesystem;

constexpr std::size_t words_of_readme = 1'800;

struct document {
    std::string text;  ///< without blocks of code and code within lines
    std::set<std::string> anchors;
};

/// The anchor that a heading has on a page: small letters, hyphens for spaces, nothing else but digits and underscores.
std::string anchor_of(std::string const& heading) {
    std::string anchor;
    for (char const c : heading) {
        auto const byte = static_cast<unsigned char>(c);
        if (c == ' ') anchor += '-';
        if (std::isalnum(byte) != 0 || c == '-' || c == '_') anchor += static_cast<char>(std::tolower(byte));
    }
    return anchor;
}

document read(fs::path const& file) {
    document found;
    std::regex const code("`[^`]*`");
    std::ifstream in(file);
    bool in_block = false;
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("```")) {
            in_block = !in_block;
            continue;
        }
        if (in_block) continue;
        if (line.starts_with('#')) found.anchors.insert(anchor_of(line.substr(line.find_first_not_of('#') + 1)));
        found.text += std::regex_replace(line, code, "code") + '\n';
    }
    return found;
}

bool is_document(fs::path const& file) {
    return file.extension() == ".md";
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) return 2;
    fs::path const root = arguments[1];
    std::map<fs::path, document> documents;
    for (auto const& entry : fs::directory_iterator(root)) {
        if (is_document(entry.path())) documents[fs::canonical(entry.path())] = read(entry.path());
    }
    for (auto const* folder : {"bench", "examples", "tests"}) {
        for (auto const& entry : fs::recursive_directory_iterator(root / folder)) {
            if (is_document(entry.path())) documents[fs::canonical(entry.path())] = read(entry.path());
        }
    }

    int faults = 0;
    std::size_t links = 0;
    std::regex const link(R"(\]\(([^)\s#]*)(#([^)\s]*))?\))");
    for (auto const& [file, document] : documents) {
        auto const fault = [&, &name = file](std::string const& target, char const* what) {
            std::printf("%s: %s: %s\n", name.string().c_str(), target.c_str(), what);
            ++faults;
        };
        for (std::sregex_iterator at(document.text.begin(), document.text.end(), link), end; at != end; ++at) {
            auto const path = (*at)[1].str();
            auto const anchor = (*at)[3].str();
            if (path.find("://") != std::string::npos) continue;
            ++links;
            auto const target = path.empty() ? file : file.parent_path() / path;
            if (!fs::exists(target)) {
                fault(path, "no such file");
                continue;
            }
            if (anchor.empty()) continue;
            auto const there = documents.find(fs::canonical(target));
            if (there == documents.end() || !there->second.anchors.contains(anchor)) {
                fault(path + '#' + anchor, "no such heading");
            }
        }
    }

    std::ifstream readme(root / "README.md");
    std::size_t words = 0;
    for (std::string word; readme >> word;) ++words;
    std::printf("%zu links in %zu documents; README has %zu words\n", links, documents.size(), words);
    if (words > words_of_readme) {
        std::printf("README is to have %zu words at most: what is longer goes to the guide\n", words_of_readme);
        ++faults;
    }
    // A look that finds next to nothing has looked in the wrong place.
    return faults == 0 && links > 100 && words > 500 ? 0 : 1;
}
