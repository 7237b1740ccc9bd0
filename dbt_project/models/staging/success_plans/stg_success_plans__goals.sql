with

source as (

    select
        *,
        {{ load_rank('id', ['_landed_at', 'updated_at']) }} as load_rank
    from {{ landed('success_plans', 'goal', [
        'id',
        'hubspot_company_id',
        'workspace_id',
        'metric',
        'baseline_value',
        'target_value',
        'current_value',
        'due_on',
        'status',
        'achieved_at',
        'created_at',
        'updated_at',
    ], optional=true) }}

),

renamed as (

    select
        ---------- ids
        cast(id as {{ dbt.type_string() }}) as goal_id,
        cast(hubspot_company_id as {{ dbt.type_string() }}) as hubspot_company_id,
        cast(workspace_id as {{ dbt.type_string() }}) as workspace_id,
        ---------- attributes
        metric,
        {{ decimal_number('baseline_value') }} as baseline_value,
        {{ decimal_number('target_value') }} as target_value,
        {{ decimal_number('current_value') }} as current_value,
        cast({{ utc_timestamp('due_on') }} as date) as due_on,
        lower(status) as status,
        ---------- timestamps
        {{ utc_timestamp('achieved_at') }} as achieved_at,
        {{ utc_timestamp('created_at') }} as created_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

),

known as (

    select *
    from renamed
    where {{ not_after_clock('created_at') }}

)

select * from known
