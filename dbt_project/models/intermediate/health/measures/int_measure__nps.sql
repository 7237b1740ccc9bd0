-- Mean of each contact's latest answer on recommendation; nothing where nobody ever answered.
{{ survey_measure('nps') }}
