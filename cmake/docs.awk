# SPDX-License-Identifier: MIT
#
# What Doxygen reads of a file. The text on top of a public header becomes the page of that header. The inline namespace,
# which users never write, and the specialisations of other libraries' templates behind it go: Doxygen cannot place them.
# In a page, links to what is not in the site become their text, and an anchor, which Doxygen has its own names for, goes.
FNR == 1 { in_block = 0 }
/^```/ { in_block = !in_block }
FILENAME ~ /[.]md$/ && !in_block {
  rest = $0
  $0 = ""
  while (match(rest, /\]\([^) ]*\)/)) {
    target = substr(rest, RSTART + 2, RLENGTH - 3)
    before = substr(rest, 1, RSTART - 1)
    rest = substr(rest, RSTART + RLENGTH)
    is_page = target !~ /^[a-z]+:/ && (target ~ /[.]md(#.*)?$/ || target ~ /include\/tidefall\/.*[.]hpp$/)
    if (is_page) sub(/#.*$/, "", target)
    if (is_page || target ~ /^[a-z]+:/ || target ~ /[.]svg$/) {
      $0 = $0 before "](" target ")"
    } else {
      match(before, /\[[^[]*$/)
      $0 = $0 substr(before, 1, RSTART - 1) substr(before, RSTART + 1)
    }
  }
  $0 = $0 rest
}
FNR == 1 && /^\/\/ SPDX/ && FILENAME !~ /\/detail\// { print "/// @file"; on_top = 1; next }
/^#pragma once/ { on_top = 0 }
on_top && /^\/\// { sub(/^\/\//, "///") }
behind { print ""; next }
/^}  \/\/ namespace tidefall/ { behind = 1 }
{ sub(/namespace tidefall::inline v0/, "namespace tidefall"); print }
