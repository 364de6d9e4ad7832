package console

import "slices"

// framePages are the pages that are there for everyone.
var framePages = slices.Concat(loginPages, linkPages, stepUpPages, factorPages, welcomePages, profilePages, settingPages)
