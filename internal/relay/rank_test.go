package relay

import (
	"encoding/json"
	"testing"
)

func TestRankRoundTrip(t *testing.T) {
	t.Parallel()
	for _, r := range []Rank{RankOwn, RankAccount, RankOperator} {
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back Rank
		if err := json.Unmarshal(b, &back); err != nil || back != r {
			t.Errorf("%d as %s is %d, %v", r, b, back, err)
		}
	}
	var r Rank
	if err := json.Unmarshal([]byte(`"king"`), &r); err == nil {
		t.Error("a rank that is none")
	}
	if Rank(-1).String() != "" || Rank(9).String() != "" || RankAccount >= RankOperator || RankOwn >= RankAccount {
		t.Error("names or order")
	}
}
