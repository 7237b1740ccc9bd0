-- What the score is worth: how well it told, some days ahead, who would leave, with an interval that counts a customer
-- once however many days of it there are, and against two honest baselines.
{% set by = ['predictor', 'lead_days', 'tier'] %}
with

observations as (

    select * from {{ ref('health_observations') }}

),

history as (

    select *
    from {{ ref('customer_health_history') }}
    where rules_version = {{ rules_version() }}

),

spells as (

    select * from {{ ref('int_customer_spells') }}

),

grouped as (

    select
        observations.*,
        'all' as tier_group
    from observations

    union all

    select
        observations.*,
        tier as tier_group
    from observations

),

-- the score and its two baselines side by side, as values of which lower should mean leaving
valued as (

    {% for predictor, column in [('health', 'health_score'), ('activity', 'events_28d'), ('tenure', 'tenure_days')] %}
    select
        '{{ predictor }}' as predictor,
        lead_days,
        tier_group as tier,
        customer_id,
        cast({{ column }} as double precision) as predicted_by,
        case when has_churned then 1 else 0 end as churned,
        case when has_churned then 0 else 1 end as stayed,
        case when churn_kind = 'voluntary' then 1 else 0 end as churned_voluntary,
        case when churn_kind = 'involuntary' then 1 else 0 end as churned_involuntary
    from grouped
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

point as (

    select * from {{ auc('valued', by) }} as areas

),

voluntary as (

    select *
    from {{ auc(
        '(select predictor, lead_days, tier, predicted_by, churned_voluntary as churned, stayed'
        ~ " from valued where predictor = 'health')",
        by
    ) }} as areas

),

involuntary as (

    select *
    from {{ auc(
        '(select predictor, lead_days, tier, predicted_by, churned_involuntary as churned, stayed'
        ~ " from valued where predictor = 'health')",
        by
    ) }} as areas

),

-- the bootstrap draws customers, with all their days
customers as (

    select
        customer_id,
        row_number() over (order by customer_id) as customer_number
    from (select distinct customer_id from observations) as seen

),

replicates as (

    {{ dbt.generate_series(var('backtest_replicates')) }}

),

draws as (

    select
        customers.customer_id,
        cast(replicates.generated_number as integer) as replicate,
        {{ times_drawn('customers.customer_number', 'replicates.generated_number') }} as times
    from customers
    cross join replicates

),

resampled as (

    select * from {{ auc(
        '(select valued.predictor, valued.lead_days, valued.tier, draws.replicate, valued.predicted_by,'
        ~ ' draws.times * valued.churned as churned, draws.times * valued.stayed as stayed'
        ~ ' from valued inner join draws on valued.customer_id = draws.customer_id where draws.times > 0)',
        by + ['replicate']
    ) }} as areas

),

-- nobody knows beforehand whether the young or the old leave: tenure is read the way that serves it best
pivoted as (

    select
        lead_days,
        tier,
        replicate,
        max(case when predictor = 'health' then auc end) as auc,
        greatest(
            max(case when predictor = 'activity' then auc end),
            max(case when predictor = 'tenure' then greatest(auc, 1 - auc) end)
        ) as baseline_auc
    from resampled
    group by
        lead_days,
        tier,
        replicate

),

ranked as (

    select
        lead_days,
        tier,
        auc,
        auc - baseline_auc as advantage,
        row_number() over (
            partition by lead_days, tier
            order by auc
        ) as auc_rank,
        row_number() over (
            partition by lead_days, tier
            order by auc - baseline_auc
        ) as advantage_rank,
        count(*) over (partition by lead_days, tier) as replicates
    from pivoted
    where auc is not null

),

intervals as (

    select
        lead_days,
        tier,
        min(case when auc_rank >= 0.025 * replicates then auc end) as auc_low,
        min(case when auc_rank >= 0.975 * replicates then auc end) as auc_high,
        min(case when advantage_rank >= 0.025 * replicates then advantage end) as advantage_low
    from ranked
    group by
        lead_days,
        tier

),

-- the tenth that looks worst, and the risk band
deciles as (

    select
        grouped.*,
        ntile(10) over (
            partition by lead_days, tier_group
            order by health_score, customer_id, as_of_date
        ) as decile
    from grouped

),

counted as (

    select
        lead_days,
        tier_group as tier,
        count(distinct customer_id) as customers,
        count(*) as observations,
        count(distinct case when has_churned then customer_id end) as churned,
        count(distinct case when churn_kind = 'voluntary' then customer_id end) as churned_voluntary,
        count(distinct case when churn_kind = 'involuntary' then customer_id end) as churned_involuntary,
        {{ ratio('sum(case when has_churned then 1 else 0 end)', 'count(*)') }} as churn_rate,
        {{ ratio('sum(case when decile = 1 and has_churned then 1 else 0 end)', 'sum(case when decile = 1 then 1 else 0 end)') }}
            as worst_decile_rate,
        {{ ratio(
            "sum(case when health_band = 'risk' and has_churned then 1 else 0 end)",
            "sum(case when health_band = 'risk' then 1 else 0 end)"
        ) }} as risk_precision,
        {{ ratio(
            "sum(case when health_band = 'risk' and has_churned then 1 else 0 end)",
            'sum(case when has_churned then 1 else 0 end)'
        ) }} as risk_recall
    from deciles
    group by
        lead_days,
        tier_group

),

-- from the first day in the risk band (of the last half year) to the end
warnings as (

    select
        spells.customer_id,
        spells.spell_number,
        max(history.tier) as tier,
        {{ days_between('min(history.as_of_date)', 'max(spells.ended_at)') }} as warned_days
    from spells
    inner join history
        on
            spells.customer_id = history.customer_id
            and history.health_band = 'risk'
            and history.as_of_date >= cast(spells.paid_from as date)
            and history.as_of_date < cast(spells.ended_at as date)
            and history.as_of_date > {{ days_before('cast(spells.ended_at as date)', 183) }}
    where spells.end_kind is not null
    group by
        spells.customer_id,
        spells.spell_number

),

warned as (

    select
        tier_group as tier,
        warned_days,
        row_number() over (
            partition by tier_group
            order by warned_days
        ) as place,
        count(*) over (partition by tier_group) as warned_spells
    from (
        select
            'all' as tier_group,
            warned_days
        from warnings

        union all

        select
            tier as tier_group,
            warned_days
        from warnings
    ) as by_tier

),

median_warnings as (

    select
        tier,
        cast(avg(warned_days) as integer) as median_days_warned
    from warned
    where place in (floor((warned_spells + 1) / 2.0), ceil((warned_spells + 1) / 2.0))
    group by tier

),

pointed as (

    select
        lead_days,
        tier,
        max(case when predictor = 'health' then auc end) as auc,
        max(case when predictor = 'activity' then auc end) as activity_auc,
        max(case when predictor = 'tenure' then greatest(auc, 1 - auc) end) as tenure_auc
    from point
    group by
        lead_days,
        tier

),

final as (

    select
        counted.tier,
        counted.lead_days,
        cast(counted.customers as integer) as customers,
        cast(counted.churned as integer) as churned,
        cast(pointed.auc as decimal(5, 4)) as auc,
        cast(intervals.auc_low as decimal(5, 4)) as auc_low,
        cast(intervals.auc_high as decimal(5, 4)) as auc_high,
        cast(greatest(pointed.activity_auc, pointed.tenure_auc) as decimal(5, 4)) as baseline_auc,
        cast({{ ratio('counted.worst_decile_rate', 'counted.churn_rate') }} as decimal(9, 2)) as lift_worst_decile,
        case
            when counted.churned < {{ threshold('backtest_min_churns') }} then 'too few churns'
            when intervals.auc_low > 0.5 then 'signal'
            else 'no signal'
        end as verdict,
        coalesce(intervals.advantage_low > 0, false) as beats_baseline,
        cast(intervals.advantage_low as decimal(5, 4)) as advantage_low,
        cast(pointed.activity_auc as decimal(5, 4)) as activity_auc,
        cast(pointed.tenure_auc as decimal(5, 4)) as tenure_auc,
        cast(voluntary.auc as decimal(5, 4)) as voluntary_auc,
        cast(involuntary.auc as decimal(5, 4)) as involuntary_auc,
        cast(counted.churned_voluntary as integer) as churned_voluntary,
        cast(counted.churned_involuntary as integer) as churned_involuntary,
        cast(counted.observations as integer) as observations,
        cast(counted.churn_rate as decimal(5, 4)) as churn_rate,
        cast(counted.risk_precision as decimal(5, 4)) as risk_precision,
        cast(counted.risk_recall as decimal(5, 4)) as risk_recall,
        median_warnings.median_days_warned
    from counted
    left join pointed
        on
            counted.lead_days = pointed.lead_days
            and counted.tier = pointed.tier
    left join intervals
        on
            counted.lead_days = intervals.lead_days
            and counted.tier = intervals.tier
    left join voluntary
        on
            counted.lead_days = voluntary.lead_days
            and counted.tier = voluntary.tier
    left join involuntary
        on
            counted.lead_days = involuntary.lead_days
            and counted.tier = involuntary.tier
    left join median_warnings
        on counted.tier = median_warnings.tier

)

select * from final
