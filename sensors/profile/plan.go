package profile

import (
	"cmp"
	"slices"
)

// Block is one read request and the channels that it serves, as indexes into Profile.Channels.
type Block struct {
	Span
	Items []int
}

// Plan groups the channels into the fewest requests that the read rules allow, by one greedy pass
// in address order: a declared block is read exactly as declared, everything else is joined while
// it fits and the gap is small enough. No item is ever split and nothing forbidden is read. The pass
// finds the fewest, because whatever may be read in one request may also be read without its last
// item: a request that reaches further leaves less to all others.
func (p *Profile) Plan() []Block {
	all := make([]int, len(p.Channels))
	for i := range all {
		all[i] = i
	}
	return p.PlanOf(all)
}

// Needs returns channels, and with them, in order, those that decide on the quality of one of them.
func (p *Profile) Needs(channels []int) []int {
	need := slices.Clone(channels)
	for _, i := range channels {
		c := &p.Channels[i]
		for _, g := range c.Gates {
			need = append(need, g.Channel)
		}
		for k := range p.Channels {
			if c.Zeros != "" && p.Channels[k].Zeros == c.Zeros {
				need = append(need, k)
			}
		}
	}
	if p.Alive.Within > 0 && len(channels) > 0 {
		need = append(need, p.Alive.Channel)
	}
	slices.Sort(need)
	return slices.Compact(need)
}

// PlanOf is Plan for some of the channels.
func (p *Profile) PlanOf(channels []int) []Block {
	byBlock := map[int]*Block{}
	var loose []int
	for _, i := range channels {
		s := p.Channels[i].Span()
		k := slices.IndexFunc(p.Read.Blocks, func(b Span) bool { return b.Holds(s) })
		if k < 0 {
			loose = append(loose, i)
			continue
		}
		if byBlock[k] == nil {
			byBlock[k] = &Block{Span: p.Read.Blocks[k]}
		}
		byBlock[k].Items = append(byBlock[k].Items, i)
	}
	var blocks []Block
	for _, b := range byBlock {
		blocks = append(blocks, *b)
	}
	slices.SortFunc(loose, func(i, j int) int { return compareSpans(p.Channels[i].Span(), p.Channels[j].Span()) })
	for _, i := range loose {
		s := p.Channels[i].Span()
		if n := len(blocks); n > len(byBlock) && p.joins(blocks[n-1].Span, s) {
			b := &blocks[n-1]
			b.Count = uint16(max(b.End(), s.End()) - int(b.First))
			b.Items = append(b.Items, i)
			continue
		}
		blocks = append(blocks, Block{s, []int{i}})
	}
	slices.SortFunc(blocks, func(a, b Block) int { return compareSpans(a.Span, b.Span) })
	spread(blocks)
	return blocks
}

func compareSpans(a, b Span) int {
	return cmp.Or(cmp.Compare(a.Func, b.Func), cmp.Compare(a.First, b.First), cmp.Compare(a.Count, b.Count))
}

// joins tells whether s, which does not start before b, may be read in one request with it.
func (p *Profile) joins(b, s Span) bool {
	if p.Read.Single && s != b {
		return false
	}
	end := max(b.End(), s.End())
	limit := p.Read.MaxWords
	if b.Func.Bits() {
		limit = p.Read.MaxBits
	}
	if b.Func != s.Func || int(s.First)-b.End() > p.Read.MaxGap || end-int(b.First) > limit {
		return false
	}
	whole := Span{b.Func, b.First, uint16(end - int(b.First))}
	for _, f := range p.Read.Forbidden {
		if f.Touches(whole) {
			return false
		}
	}
	for _, d := range p.Read.Blocks {
		if d.Touches(whole) {
			return false
		}
	}
	return true
}

// spread reorders blocks so that, where possible, no request follows one of the same function and
// quantity: on a serial line a late reply to the first could pass for the second.
func spread(blocks []Block) {
	alike := func(a, b *Block) bool { return a.Func == b.Func && a.Count == b.Count }
	for i := 1; i < len(blocks); i++ {
		if !alike(&blocks[i], &blocks[i-1]) {
			continue
		}
		for j := i + 1; j < len(blocks); j++ {
			if !alike(&blocks[j], &blocks[i-1]) {
				blocks[i], blocks[j] = blocks[j], blocks[i]
				break
			}
		}
	}
}
