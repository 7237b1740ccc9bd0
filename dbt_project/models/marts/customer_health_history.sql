-- The health of every customer on every day, as it was published: dimensions weighted by the stage and tier of the day
-- into a score, the score explained against peers, and its change over 7 and 28 days under the weights of the day.
{{ config(
    materialized='incremental',
    incremental_strategy='append_days',
    full_refresh=false,
    on_schema_change='append_new_columns',
) }}
{% set dimensions = var('dimensions') %}

with

scored as (

    select *
    from {{ ref('int_customer_days__scored') }}
    where
        rules_version = {{ rules_version() }}
        and as_of_date >= {{ first_scored_day() }}

),

-- what days before are compared with: those of this build and those published
earlier as (

    select
        customer_id,
        {% for dimension in dimensions %}
        {{ dimension }}_score,
        {% endfor %}
        as_of_date
    from scored
    {% if is_incremental() %}

    union all

    select
        customer_id,
        {% for dimension in dimensions %}
        {{ dimension }}_score,
        {% endfor %}
        as_of_date
    from {{ this }}
    where
        rules_version = {{ rules_version() }}
        and as_of_date < {{ first_scored_day() }}
        and as_of_date >= {{ days_before(first_scored_day(), 28) }}
    {% endif %}

),

weights as (

    select * from {{ ref('health_weights') }}

),

peers as (

    select *
    from {{ ref('int_health_peers') }}
    where rules_version = {{ rules_version() }}

),

bands as (

    select *
    from {{ rules_in_one_row(
        ref('health_bands'), 'band', ['healthy', 'watch'], {'min_score': 'decimal(5, 2)'}
    ) }} as one_row

),

-- a dimension without a value has no weight
weighted as (

    select
        scored.customer_id,
        scored.as_of_date,
        scored.journey_stage,
        scored.tier,
        {% for dimension in dimensions %}
        scored.{{ dimension }}_score,
        peers.{{ dimension }}_score as {{ dimension }}_peers,
        weights.{{ dimension }} as {{ dimension }}_full_weight,
        case when scored.{{ dimension }}_score is null then 0 else weights.{{ dimension }} end as {{ dimension }}_weight,
        case when scored.{{ dimension }}_score is null or week_ago.{{ dimension }}_score is null then 0 else weights.{{ dimension }} end
            as {{ dimension }}_weight_7d,
        case when scored.{{ dimension }}_score is null or month_ago.{{ dimension }}_score is null then 0 else weights.{{ dimension }} end
            as {{ dimension }}_weight_28d,
        scored.{{ dimension }}_score - week_ago.{{ dimension }}_score as {{ dimension }}_change_7d,
        scored.{{ dimension }}_score - month_ago.{{ dimension }}_score as {{ dimension }}_change_28d,
        {% endfor %}
        scored.tenure_band
    from scored
    inner join weights
        on
            scored.journey_stage = weights.journey_stage
            and scored.tier = weights.tier
    left join peers
        on
            scored.tier = peers.tier
            and scored.tenure_band = peers.tenure_band
    left join earlier as week_ago
        on
            scored.customer_id = week_ago.customer_id
            and week_ago.as_of_date = {{ days_before('scored.as_of_date', 7) }}
    left join earlier as month_ago
        on
            scored.customer_id = month_ago.customer_id
            and month_ago.as_of_date = {{ days_before('scored.as_of_date', 28) }}

),

summed as (

    select
        weighted.*,
        {{ columns_sum(dimensions, '_full_weight') }} as full_weight,
        {{ columns_sum(dimensions, '_weight') }} as present_weight,
        {{ columns_sum(dimensions, '_weight_7d') }} as present_weight_7d,
        {{ columns_sum(dimensions, '_weight_28d') }} as present_weight_28d
    from weighted

),

covered as {{ computed_once() }} (

    select
        summed.*,
        {{ rounded(ratio('present_weight', 'full_weight'), 5, 4) }} as coverage,
        present_weight >= {{ health_threshold('coverage_min') }} * full_weight as is_covered,
        present_weight_7d >= {{ health_threshold('coverage_min') }} * full_weight as is_covered_7d,
        present_weight_28d >= {{ health_threshold('coverage_min') }} * full_weight as is_covered_28d
    from summed

),

explained as {{ computed_once() }} (

    select
        case when is_covered then {{ rounded(
            ratio(weighted_sum(dimensions, '_weight', '_score'), 'present_weight'), 5, 2
        ) }} end as health_score,
        case when is_covered then {{ rounded(
            ratio(weighted_sum(dimensions, '_weight', '_peers'), 'present_weight'), 5, 2
        ) }} end as peer_score,
        case when is_covered_7d then {{ rounded(
            ratio(weighted_sum(dimensions, '_weight_7d', '_change_7d'), 'present_weight_7d'), 5, 2
        ) }} end as health_change_7d,
        case when is_covered_28d then {{ rounded(
            ratio(weighted_sum(dimensions, '_weight_28d', '_change_28d'), 'present_weight_28d'), 5, 2
        ) }} end as health_change_28d,
        {% for dimension in dimensions %}
        case when is_covered then {{ rounded(
            ratio(
                dimension ~ '_weight * (coalesce(' ~ dimension ~ '_score, 0) - coalesce(' ~ dimension ~ '_peers, 0))',
                'present_weight'
            ), 5, 2
        ) }} end as {{ dimension }}_part,
        {% endfor %}
        covered.*
    from covered

),

-- parts are rounded each; what that leaves over goes to the largest, so that they add up to the difference to the cent
settled as {{ computed_once() }} (

    select
        explained.*,
        health_score - peer_score - ({{ columns_sum(dimensions, '_part') }}) as left_over,
        greatest({{ columns_listed('abs(', dimensions, '_part)') }}) as largest_part
    from explained

),

drivers as {{ computed_once() }} (

    select
        {% for dimension in dimensions %}
        cast({{ dimension }}_part + case
            when
                abs({{ dimension }}_part) = largest_part
                {% for before in dimensions[:loop.index0] %}
                and abs({{ before }}_part) < largest_part
                {% endfor %}
                then left_over
            else 0
        end as decimal(5, 2)) as {{ dimension }}_driver,
        {% endfor %}
        settled.*
    from settled

),

final as (

    select
        ---------- ids
        drivers.customer_id,
        drivers.as_of_date,
        {{ rules_version() }} as rules_version,
        ---------- attributes
        drivers.journey_stage,
        drivers.tier,
        drivers.tenure_band,
        ---------- the score
        cast(drivers.health_score as decimal(5, 2)) as health_score,
        case
            when drivers.health_score is null then 'unknown'
            when drivers.health_score >= bands.healthy_min_score then 'healthy'
            when drivers.health_score >= bands.watch_min_score then 'watch'
            else 'risk'
        end as health_band,
        drivers.coverage,
        cast(drivers.health_change_7d as decimal(5, 2)) as health_change_7d,
        cast(drivers.health_change_28d as decimal(5, 2)) as health_change_28d,
        ---------- what drives it
        cast(drivers.peer_score as decimal(5, 2)) as peer_score,
        case
            {% for dimension in dimensions %}
            when
                drivers.{{ dimension }}_driver < 0
                and drivers.{{ dimension }}_driver = least({{ columns_listed('drivers.', dimensions, '_driver') }})
                then '{{ dimension }}'
            {% endfor %}
        end as weakest_dimension,
        {% for dimension in dimensions %}
        drivers.{{ dimension }}_score,
        {% endfor %}
        {% for dimension in dimensions %}
        drivers.{{ dimension }}_driver,
        {% endfor %}
        ---------- timestamps
        {{ as_of_at() }} as published_at
    from drivers
    cross join bands

)

select * from final
