-- Which segments hold the same people, and the same customers, on the last day built: who would hear twice.
{{ overlap(ref('segment_members'), 'segment_name') }}
