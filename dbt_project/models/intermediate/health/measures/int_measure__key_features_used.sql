-- Key features that the customer used in the last 28 days.
{{ usage_measure(
    value='count(distinct case when usage_daily.is_key_feature then usage_daily.feature end)',
    days=28
) }}
