-- Which triggers have episodes about the same people, and the same customers, on the last day built: who would hear twice.
{{ overlap(ref('trigger_members'), 'trigger_name') }}
