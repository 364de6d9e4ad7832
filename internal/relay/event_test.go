package relay

import "testing"

func TestStood(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		d        EventData
		rank     Rank
		somebody bool
	}{
		{EventData{}, RankOwn, false},
		{EventData{By: "user ann", ByRank: "own"}, RankOwn, true},
		{EventData{By: "user ann", ByRank: ByRestricted}, RankOwn, true},
		{EventData{By: "user ann", ByRank: "account"}, RankAccount, true},
		{EventData{By: "uid 0", ByRank: "operator"}, RankOperator, true},
		{EventData{By: "uid 0", ByRank: "own"}, RankOwn, true}, // as it was noted
		{EventData{By: "user ann", ByRank: "lord"}, RankAccount, true},
		{EventData{By: "uid 0 on admin.sock"}, RankOperator, true}, // of before it was noted
		{EventData{By: "uidann"}, RankAccount, true},
		{EventData{By: "key x"}, RankAccount, true},
	} {
		if rank, somebody := tt.d.Stood(); rank != tt.rank || somebody != tt.somebody {
			t.Errorf("%+v: %v, %v", tt.d, rank, somebody)
		}
	}
}
