with

source as (

    select
        *,
        {{ load_rank('id', ['_landed_at', 'last_modified_date']) }} as load_rank
    from {{ landed('salesforce', 'opportunity', [
        'id',
        'account_id',
        'owner_id',
        'name',
        'type',
        'stage_name',
        'is_closed',
        'is_won',
        'amount',
        'currency_iso_code',
        'close_date',
        'created_date',
        'last_modified_date',
    ], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as deal_id,
        account_id as salesforce_account_id,
        ---------- attributes
        name as deal_name,
        lower(type) as pipeline,
        lower(stage_name) as deal_stage,
        coalesce({{ true_or_false('is_closed') }}, false)
        and cast({{ utc_timestamp('close_date') }} as date) <= {{ as_of_date() }} as is_closed,
        coalesce({{ true_or_false('is_won') }}, false)
        and cast({{ utc_timestamp('close_date') }} as date) <= {{ as_of_date() }} as is_won,
        {{ decimal_number('amount') }} as amount,
        lower(currency_iso_code) as currency,
        owner_id,
        ---------- timestamps
        {{ utc_timestamp('created_date') }} as created_at,
        case when {{ true_or_false('is_closed') }} and {{ utc_timestamp('close_date') }} <= {{ as_of_at() }} then {{ utc_timestamp('close_date') }} end
            as closed_at,
        cast({{ utc_timestamp('close_date') }} as date) as expected_close_date,
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
