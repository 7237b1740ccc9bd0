-- Each measure's points, and the points of each dimension: within it by the weights of its measures, those of answers
-- fading with their age. What is missing, or comes from a feed that stopped, has no weight.
{{ config(
    materialized='incremental',
    incremental_strategy='append_days',
    on_schema_change='append_new_columns',
    meta={'keeps_versions': false},
) }}
{% set measures = var('measures') %}
{% set text = dbt.type_string() %}

with

measured as (

    select *
    from {{ ref('int_customer_days__measured') }}
    where
        rules_version = {{ rules_version() }}
        and as_of_date >= {{ first_scored_day() }}

),

rules as (

    select *
    from {{ rules_in_one_row(ref('health_measures'), 'measure', measures, {
        'dimension': text,
        'weight': 'double precision',
        'scale': text,
        'direction': text,
        'points_0_at': 'double precision',
        'points_100_at': 'double precision',
        'stale_after_days': 'integer',
        'half_life_days': 'double precision',
    }) }} as one_row

),

peer_tenths as (

    select
        {% for measure in measures %}
        {% for tenth in range(0, 101, 10) %}
        max(case when measure = '{{ measure }}' then cast(p{{ tenth }} as double precision) end) as {{ measure }}_p{{ tenth }},
        {% endfor %}
        {% endfor %}
        tier,
        tenure_band
    from {{ ref('int_health_references') }}
    where rules_version = {{ rules_version() }}
    group by
        tier,
        tenure_band

),

-- present: there is a value, and its source spoke not too long ago
pointed as {{ computed_once() }} (

    select
        measured.customer_id,
        measured.as_of_date,
        measured.tier,
        measured.tenure_band,
        {% for measure in measures %}
        {% set value = 'measured.' ~ measure ~ '_raw' %}
        {% set age = 'measured.' ~ measure ~ '_age_days' %}
        case
            when
                {{ value }} is null
                or {{ age }} is null
                or {{ age }} > rules.{{ measure }}_stale_after_days
                then null
            when rules.{{ measure }}_scale = 'threshold'
                then {{ threshold_points(value, 'rules.' ~ measure ~ '_points_0_at', 'rules.' ~ measure ~ '_points_100_at') }}
            -- of what is better low, the points that are left
            else
                case when rules.{{ measure }}_direction = 'lower' then 100 else 0 end
                + case when rules.{{ measure }}_direction = 'lower' then -1 else 1 end
                * {{ percentile_points(value, 'peer_tenths.' ~ measure) }}
        end as {{ measure }}_points,
        rules.{{ measure }}_weight * case
            when rules.{{ measure }}_half_life_days is null then 1
            else power(cast(0.5 as double precision), {{ age }} / rules.{{ measure }}_half_life_days)
        end as {{ measure }}_weight,
        rules.{{ measure }}_dimension,
        {% endfor %}
        measured.journey_stage
    from measured
    cross join rules
    left join peer_tenths
        on
            measured.tier = peer_tenths.tier
            and measured.tenure_band = peer_tenths.tenure_band

),

final as (

    select
        {{ rules_version() }} as rules_version,
        customer_id,
        as_of_date,
        tier,
        tenure_band,
        {% for dimension in var('dimensions') %}
        {{ rounded(
            '(' ~ dimension_sum(dimension, measures, 'points') ~ ') / nullif(' ~ dimension_sum(dimension, measures) ~ ', 0)', 5, 2
        ) }} as {{ dimension }}_score,
        {% endfor %}
        {% for measure in measures %}
        {{ rounded(measure ~ '_points', 5, 2) }} as {{ measure }}_points,
        {% endfor %}
        journey_stage
    from pointed

)

select * from final
