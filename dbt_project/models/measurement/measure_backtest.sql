-- What each measure is worth by itself, 30 days ahead: a measure that does not help is seen here. The interval is that
-- of Obuchowski (1997) for clustered data: each customer counts once.
{% set measures = var('measures') %}
with

observations as (

    select *
    from {{ ref('health_observations') }}
    where lead_days = 30

),

scored as (

    select *
    from {{ ref('int_customer_days__scored') }}
    where rules_version = {{ rules_version() }}

),

rules as (

    select * from {{ ref('health_measures') }}

),

joined as (

    select
        {% for measure in measures %}
        scored.{{ measure }}_points,
        {% endfor %}
        observations.customer_id,
        case when observations.has_churned then 1 else 0 end as churned
    from observations
    inner join scored
        on
            observations.customer_id = scored.customer_id
            and observations.as_of_date = scored.as_of_date

),

tall as (

    {% for measure in measures %}
    select
        '{{ measure }}' as measure,
        customer_id,
        churned,
        1 - churned as stayed,
        {{ measure }}_points as points
    from joined
    where {{ measure }}_points is not null
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

tallied as (

    select
        measure,
        points,
        sum(churned) as churned,
        sum(stayed) as stayed
    from tall
    group by
        measure,
        points

),

placed as (

    select
        measure,
        points,
        sum(stayed) over (
            partition by measure
            order by points desc
        ) - 0.5 * stayed as stayed_above,
        sum(churned) over (
            partition by measure
            order by points
        ) - 0.5 * churned as churned_below,
        sum(churned) over (partition by measure) as all_churned,
        sum(stayed) over (partition by measure) as all_stayed
    from tallied

),

-- the share of the others that an observation is told apart from
placements as (

    select
        tall.measure,
        tall.customer_id,
        tall.churned,
        placed.all_churned,
        placed.all_stayed,
        case
            when tall.churned = 1 then {{ ratio('placed.stayed_above', 'placed.all_stayed') }}
            else {{ ratio('placed.churned_below', 'placed.all_churned') }}
        end as placement
    from tall
    inner join placed
        on
            tall.measure = placed.measure
            and tall.points = placed.points

),

areas as (

    select
        measure,
        {{ ratio('sum(case when churned = 1 then placement end)', 'max(all_churned)') }} as auc,
        count(*) as observations,
        count(distinct customer_id) as customers,
        count(distinct case when churned = 1 then customer_id end) as churned
    from placements
    group by measure

),

by_customer as (

    select
        placements.measure,
        placements.customer_id,
        sum(case
            when placements.churned = 1 then {{ ratio('placements.placement - areas.auc', 'placements.all_churned') }}
            else {{ ratio('placements.placement - areas.auc', 'placements.all_stayed') }}
        end) as influence
    from placements
    inner join areas
        on placements.measure = areas.measure
    group by
        placements.measure,
        placements.customer_id

),

errors as (

    select
        measure,
        sqrt(sum(influence * influence) * {{ ratio('count(*)', 'count(*) - 1') }}) as standard_error
    from by_customer
    group by measure

),

final as (

    select
        rules.measure,
        rules.dimension,
        cast(coalesce(areas.observations, 0) as integer) as observations,
        cast(coalesce(areas.customers, 0) as integer) as customers,
        cast(coalesce(areas.churned, 0) as integer) as churned,
        cast(areas.auc as decimal(5, 4)) as auc,
        cast(areas.auc - 1.96 * errors.standard_error as decimal(5, 4)) as auc_low,
        cast(areas.auc + 1.96 * errors.standard_error as decimal(5, 4)) as auc_high,
        case
            when coalesce(areas.churned, 0) < {{ threshold('backtest_min_churns') }} then 'too few churns'
            when areas.auc - 1.96 * errors.standard_error > 0.5 then 'signal'
            when areas.auc + 1.96 * errors.standard_error < 0.5 then 'points the wrong way'
            else 'no signal'
        end as verdict
    from rules
    left join areas
        on rules.measure = areas.measure
    left join errors
        on rules.measure = errors.measure

)

select * from final
